-- What becomes of a claimed event, and other small notes. The steps of a claim return whether it is the current one, or was
-- when they came first; else they change nothing.

local function ended(number, token, handler, ok, text)
  local event, was_ours = owned(number, token)
  if not event then
    return was_ours
  end
  call('HSET', key_of(number), 'parts', 1)
  call('HSET', P .. 'h:' .. number, handler, cmsgpack.pack({now, ok, text}))
  return true
end

steps.succeeded = function(number, token, handler, result)
  return ended(number, token, handler, true, result)
end

steps.failed = function(number, token, handler, error)
  return ended(number, token, handler, false, error)
end

-- A step after which an event is not claimed any more: what else is to be done with it.
local function settling(settle)
  return function(number, token, ...)
    local event, was_ours = owned(number, token)
    if not event then
      return was_ours
    end
    local numbers = list_of(freed, event.owner)
    numbers[#numbers + 1] = number
    settle(number, event, ...)
    return true
  end
end

steps.done = settling(function(number, event)
  finish(number, event.has_more, event.id, event.lane)
  free(event.lane)
end)

steps.retry = settling(function(number, event, delay, error, counts, is_strict)
  local attempts = count(call('HGET', key_of(number), 'attempts'))
  call('HSET', key_of(number), 'state', 'waiting', 'error', error, 'attempts',
    counts and attempts or attempts - 1)
  call('ZADD', P .. 'waiting', now + delay, number)
  if event.lane and not is_strict then
    call('SADD', P .. 'a:' .. short(event.lane), number)
    free(event.lane)
  end
end)

steps.die = settling(function(number, event, error)
  bury(number, error)
  free(event.lane)
end)

-- It was not begun, or was cancelled: it is ready again, and that was no attempt.
steps.release = settling(function(number)
  local kind, attempts, crashes = unpack(call('HMGET', key_of(number), 'type', 'attempts', 'crashes'))
  call('HSET', key_of(number), 'attempts', count(attempts) - 1)
  call('HDEL', key_of(number), 'gathered')
  ready(number, kind, count(crashes))
end)

-- No route takes it: it waits beside its lane for a process that has one.
steps.park = settling(function(number, event)
  local kind, attempts = unpack(call('HMGET', key_of(number), 'type', 'attempts'))
  call('HSET', key_of(number), 'state', 'parked', 'attempts', count(attempts) - 1)
  left[#left + 1] = number
  call('ZADD', P .. 'parked', now, number)
  call('ZADD', P .. 'p:' .. kind, number, number)
  call('SADD', P .. 'unrouted', kind)
  if event.lane then
    call('SADD', P .. 'a:' .. short(event.lane), number)
  end
  free(event.lane)
end)

-- What was gathered begins: from here on a crash counts. Whether all of these claims are the current ones.
steps.begin = function(claims)
  local all = true
  for _, claim in ipairs(claims) do
    if owned(unpack(claim)) then
      call('HDEL', key_of(claim[1]), 'gathered')
    else
      all = false
    end
  end
  return all
end

-- Whoever wants to know of this dead letter has been told: whether there are others that this owner may tell of.
steps.told = function(owner, number)
  call('ZREM', P .. 'untold', number)
  call('HDEL', key_of(number), 'teller')
  return has_untold(owner)
end

-- The event of these keys has arrived again: if it is known and done, its window starts anew.
steps.seen = function(window, keys)
  local names = names_of(keys)
  local number, known = find(names, window)
  if number then
    renew(number, names, known)
  end
  return true
end

-- A ticket that was taken out by one who did not wait any more wakes another.
steps.give_ticket = function(kind)
  write()
  if call('EXISTS', P .. 'r:' .. kind) == 1 then
    call('LPUSH', P .. 't:' .. kind, '')
  end
  return true
end

-- This owner waits for no ticket any more, until it asks anew.
steps.wake = function(owner)
  call('RPUSH', P .. 'w:' .. owner, '')
  call('PEXPIRE', P .. 'w:' .. owner, 10000)
  return true
end
