-- Looking, without changing anything.

local STEP = 500

steps.facts = facts

-- The numbers of events that are given by their numbers, or by the digest of a key and an id. Of several that have one id,
-- the dead letters come first.
steps.find = function(wanted)
  local numbers = {}
  for _, each in ipairs(wanted) do
    if type(each) == 'number' then
      if call('EXISTS', key_of(each)) == 1 then
        numbers[#numbers + 1] = each
      end
    else
      local known = call('GET', P .. 'k:' .. each[1])
      if known then
        numbers[#numbers + 1] = tonumber(known)
      else
        local alive = {}
        for _, number in ipairs(call('ZRANGE', P .. 'i:' .. short(each[2]), 0, -1)) do
          if call('ZSCORE', P .. 'dead', number) then
            numbers[#numbers + 1] = tonumber(number)
          else
            alive[#alive + 1] = tonumber(number)
          end
        end
        for _, number in ipairs(alive) do
          numbers[#numbers + 1] = number
        end
      end
    end
  end
  return numbers
end

steps.show = function(number)
  return details(number)
end

-- How many are ready, blocked, running, waiting, done, dead and parked, and when the oldest that is to run was stored.
steps.counts = function()
  local ready, running = call('ZCARD', P .. 'suspects'), 0
  for _, kind in ipairs(call('SMEMBERS', P .. 'types')) do
    ready = ready + call('ZCARD', P .. 'r:' .. kind)
  end
  for _, owner in ipairs(call('ZRANGE', P .. 'owners', 0, -1)) do
    running = running + call('SCARD', P .. 'o:' .. owner)
  end
  local waiting = call('ZCARD', P .. 'waiting')
  local oldest = call('ZRANGE', P .. 'live', 0, 0)[1]
  return {
    ready, call('ZCARD', P .. 'live') - ready - running - waiting, running, waiting, call('ZCARD', P .. 'done'),
    call('ZCARD', P .. 'dead'), call('ZCARD', P .. 'parked'),
    oldest and count(event_of(oldest)[STORED]) or false,
  }
end

-- Up to so many events of a state that is to run, behind a number: those that were found among some, and the number to go
-- on behind; false at the end.
steps.list_live = function(state, limit, after)
  local found = {}
  local numbers = call('ZRANGEBYSCORE', P .. 'live', '(' .. after, '+inf', 'LIMIT', 0, STEP)
  if #numbers == 0 then
    return {found, false}
  end
  local claimed = call('HMGET', P .. 'running', unpack(numbers))
  local due = call('ZMSCORE', P .. 'waiting', unpack(numbers))
  for at, number in ipairs(numbers) do
    local its = claimed[at] and 'running' or due[at] and 'waiting'
      or is_blocked(number, event_of(number)[LANE]) and 'blocked' or 'ready'
    if its == state then
      found[#found + 1] = summary(number)
      if #found == limit then
        return {found, false}
      end
    end
  end
  return {found, #numbers == STEP and tonumber(numbers[#numbers])}
end

-- Some numbers of a state that is settled, in no order, and where to go on; '0' at the end.
steps.scan_settled = function(state, cursor)
  local reply = call('ZSCAN', P .. state, cursor, 'COUNT', STEP)
  local numbers = {}
  for at = 1, #reply[2], 2 do
    numbers[#numbers + 1] = tonumber(reply[2][at])
  end
  return {numbers, reply[1]}
end

-- Those of these events that are in a state.
steps.list = function(state, numbers)
  local found = {}
  for _, number in ipairs(numbers) do
    if call('ZSCORE', P .. state, number) then
      found[#found + 1] = summary(number)
    end
  end
  return found
end
