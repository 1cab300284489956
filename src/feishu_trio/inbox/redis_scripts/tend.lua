-- Who claims: each has a name that is unique for each of its connections, and a lease.

local MOST_CRASHES = SUSPECT + 3
local STEP = 1000 -- events of dead owners that one call takes over

-- It is ready again, and that was no attempt. If it had begun, and `is_crash`, its owner died of it, perhaps.
local function give_back(number, owner, is_crash)
  local claim = claim_of(number)
  claims[number] = false
  call('SREM', P .. 'o:' .. owner, number)
  call('HDEL', P .. 'running', number)
  local event = event_of(number)
  if is_crash and not claim[GATHERED] then
    event[CRASHES] = event[CRASHES] + 1
    save(number, event)
  end
  if event[CRASHES] >= MOST_CRASHES then
    bury(number, event, 'its process died, or lost its lease, ' .. event[CRASHES] .. ' times while it ran')
    free(event[LANE])
  else
    release(number, event[KIND], event[CRASHES])
  end
end

-- An owner is none any more, once it has no claims.
local function dismiss(owner)
  call('ZREM', P .. 'owners', owner)
  call('DEL', P .. 'w:' .. owner)
end

-- Be an owner: the version of the keys and the app of the inbox, and whether it is new; if it is the app that is given,
-- which claims are lost of those that this owner held under earlier names, and the status. The others are its own under the
-- new name; what else it had claimed never came to it, or else is lost, if `is_crash`.
steps.open = function(ask)
  if facts()[1] < 0 then
    return {-1, '', false, {}, false}
  end
  local is_new = call('HSETNX', KEYS[1], 'app', ask.app) == 1
  call('HSETNX', KEYS[1], 'version', ask.keys)
  local version, app = unpack(call('HMGET', KEYS[1], 'version', 'app'))
  if count(version) ~= ask.keys or app ~= ask.app then
    return {count(version), app, is_new, {}, false}
  end
  local token = now * 1000000 -- it rises, though all may have been lost, or the last of it in a failover
  if count(call('HGET', KEYS[1], 'token')) < token then
    call('HSET', KEYS[1], 'token', string.format('%.0f', token))
  end
  call('ZADD', P .. 'owners', now + ask.lease, ask.owner)
  local is_missing = {}
  for _, number in ipairs(ask.held) do
    is_missing[tostring(number)] = true
  end
  for _, name in ipairs(ask.was) do
    for _, number in ipairs(call('SMEMBERS', P .. 'o:' .. name)) do
      if is_missing[number] then
        is_missing[number] = nil
        call('SMOVE', P .. 'o:' .. name, P .. 'o:' .. ask.owner, number)
        local claim = claim_of(number)
        claim[OWNER] = ask.owner
        keep(number, claim)
      else
        give_back(number, name, ask.is_crash)
      end
    end
    for _, number in ipairs(call('ZRANGE', P .. 'untold', 0, 999)) do
      if call('HGET', P .. 'x:' .. number, 'teller') == name then
        call('HSET', P .. 'x:' .. number, 'teller', ask.owner)
      end
    end
    dismiss(name)
  end
  local missing = {}
  for number in pairs(is_missing) do
    missing[#missing + 1] = tonumber(number)
  end
  return {count(version), app, is_new, missing, status(ask.owner, ask.version)}
end

-- Take over what those had claimed whose lease has ended.
local function reap()
  local taken = 0
  for _, owner in ipairs(call('ZRANGEBYSCORE', P .. 'owners', '-inf', now)) do
    for _, number in ipairs(call('SMEMBERS', P .. 'o:' .. owner)) do
      if taken == STEP then
        return
      end
      give_back(number, owner, true)
      taken = taken + 1
    end
    dismiss(owner)
  end
end

-- Renew a lease: false if there is none any more; else which of the claims that it is held for are lost, and the status.
steps.tend = function(ask)
  if not call('ZSCORE', P .. 'owners', ask.owner) then
    return false
  end
  call('ZADD', P .. 'owners', now + ask.lease, ask.owner)
  if ask.reaps then
    reap()
  end
  local missing = {}
  for first = 1, #ask.held, STEP do
    local some = {unpack(ask.held, first, math.min(first + STEP - 1, #ask.held))}
    for at, is_member in ipairs(call('SMISMEMBER', P .. 'o:' .. ask.owner, unpack(some))) do
      if is_member == 0 then
        missing[#missing + 1] = some[at]
      end
    end
  end
  return {missing, status(ask.owner, ask.version)}
end

-- Be an owner no more: what was claimed is ready again, but for some, which keep their lease until it ends.
steps.close = function(owner, kept)
  local is_kept = {}
  for _, number in ipairs(kept) do
    is_kept[number] = true
  end
  for _, number in ipairs(call('SMEMBERS', P .. 'o:' .. owner)) do
    if not is_kept[tonumber(number)] then
      give_back(number, owner, false)
    end
  end
  for _, number in ipairs(call('ZRANGE', P .. 'untold', 0, 999)) do
    if call('HGET', P .. 'x:' .. number, 'teller') == owner then
      call('HDEL', P .. 'x:' .. number, 'teller')
    end
  end
  if call('EXISTS', P .. 'o:' .. owner) == 0 then
    dismiss(owner)
  end
  return true
end

-- Those that have been parked for so long, up to a limit, are dead letters: how many.
steps.bury_parked = function(seconds, reason, limit)
  local numbers = call('ZRANGEBYSCORE', P .. 'parked', '-inf', now - seconds, 'LIMIT', 0, limit)
  for _, number in ipairs(numbers) do
    local event = event_of(number)
    unpark(number, event)
    bury(number, event, reason)
  end
  return #numbers
end

-- Forget up to so many of those that have been done, dead or parked for some seconds: how many.
steps.purge = function(state, seconds, limit)
  local numbers = call('ZRANGEBYSCORE', P .. state, '-inf', now - seconds, 'LIMIT', 0, limit)
  for _, number in ipairs(numbers) do
    forget(number)
    call('ZREM', P .. state, number)
  end
  return #numbers
end

-- Types that are neither ready nor parked are forgotten, if there are more than so many.
steps.forget_types = function(most)
  if call('SCARD', P .. 'types') <= most then
    return 0
  end
  local forgotten = 0
  for _, kind in ipairs(call('SMEMBERS', P .. 'types')) do
    if call('EXISTS', P .. 'r:' .. kind, P .. 'p:' .. kind) == 0 then
      forgotten = forgotten + call('SREM', P .. 'types', kind)
    end
  end
  call('HINCRBY', KEYS[1], 'types', 1)
  return forgotten
end
