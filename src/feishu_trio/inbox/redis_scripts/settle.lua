-- What becomes of a claimed event, and other small notes. The steps of a claim return whether it is the current one, or was
-- when they came first; else they change nothing.

local function ended(number, token, handler, ok, text)
  local claim, was_ours = owned(number, token)
  if not claim then
    return was_ours
  end
  has_parts(number, claim)
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
    local claim, was_ours = owned(number, token)
    if not claim then
      return was_ours
    end
    local numbers = list_of(freed, claim[OWNER])
    numbers[#numbers + 1] = number
    settled[#settled + 1] = number
    claims[number] = false
    settle(number, claim, ...)
    return true
  end
end

steps.done = settling(function(number, event)
  local lane = event[LANE]
  event[ATTEMPTS] = event[ATTEMPTS] + 1
  finish(number, event)
  free(lane)
end)

steps.retry = settling(function(number, event, delay, error, counts, is_strict)
  event[ATTEMPTS] = event[ATTEMPTS] + (counts and 1 or 0)
  event[MORE] = true
  save(number, event)
  call('HSET', P .. 'x:' .. number, 'error', error)
  call('ZADD', P .. 'waiting', now + delay, number)
  if event[LANE] and not is_strict then
    call('SADD', P .. 'a:' .. short(event[LANE]), number)
    free(event[LANE])
  end
end)

steps.die = settling(function(number, event, error)
  event[ATTEMPTS] = event[ATTEMPTS] + 1
  bury(number, event, error)
  free(event[LANE])
end)

-- It was not begun, or was cancelled: it is ready again, and that was no attempt.
steps.release = settling(function(number, event)
  save(number, event)
  release(number, event[KIND], event[CRASHES])
end)

-- No route takes it: it waits beside its lane for a process that has one, and that was no attempt.
steps.park = settling(function(number, event)
  save(number, event)
  left[#left + 1] = number
  call('ZADD', P .. 'parked', moment, number)
  call('ZADD', P .. 'p:' .. event[KIND], number, number)
  call('SADD', P .. 'unrouted', event[KIND])
  if event[LANE] then
    call('SADD', P .. 'a:' .. short(event[LANE]), number)
  end
  free(event[LANE])
end)

-- What was gathered begins: from here on a crash counts. Whether all of these claims are the current ones.
steps.begin = function(these)
  local all = true
  for _, each in ipairs(these) do
    local claim = owned(unpack(each))
    if claim then
      claim[GATHERED] = false
      keep(each[1], claim)
    else
      all = false
    end
  end
  return all
end

-- Whoever wants to know of this dead letter has been told: whether there are others that this owner may tell of.
steps.told = function(owner, number)
  call('ZREM', P .. 'untold', number)
  call('HDEL', P .. 'x:' .. number, 'teller')
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
