-- How events end: done, dead, forgotten.

local LONG = 256 -- bytes of an id or a lane beyond which they take memory: Feishu's have less than 100

-- Only what it is known by is kept of it, and what it was.
local function finish(number, event)
  needless[#needless + 1] = P .. 'b:' .. number
  if event[MORE] then
    append(needless, P .. 'h:' .. number, P .. 'n:' .. number)
    needless[#needless + 1] = P .. 'x:' .. number
    local facts = cmsgpack.unpack(event[FACTS])
    if #facts[ID] > LONG then -- its keys are what it is known by
      call('ZREM', P .. 'i:' .. short(facts[ID]), number)
      facts[ID] = facts[ID]:sub(1, LONG):gsub('[\192-\255][\128-\191]*$', '') -- in whole characters
      facts[ODD] = false
      event[FACTS] = cmsgpack.pack(facts)
    end
    if event[LANE] and #event[LANE] > LONG then
      event[LANE] = false
    end
    event[MORE] = false
  end
  append(strings, key_of(number), pack(event))
  left[#left + 1] = number
  append(over, moment, number)
end

-- It is a dead letter, of which nobody has been told.
local function bury(number, event, reason)
  event[MORE] = true
  save(number, event)
  call('HSET', P .. 'x:' .. number, 'error', reason)
  left[#left + 1] = number
  call('ZADD', P .. 'dead', moment, number)
  call('ZADD', P .. 'untold', number, number)
end

-- What is parked is so no more.
local function unpark(number, event)
  local place = P .. 'p:' .. event[KIND]
  call('ZREM', P .. 'parked', number)
  if call('ZREM', place, number) == 1 and call('EXISTS', place) == 0 then
    call('SREM', P .. 'unrouted', event[KIND])
  end
  if event[LANE] then
    call('SREM', P .. 'a:' .. short(event[LANE]), number)
  end
end

-- The names of the keys of an event, of the 16 bytes that each has.
local function names_of(keys)
  local names = {}
  for at = 1, #keys, 16 do
    names[#names + 1] = P .. 'k:' .. keys:sub(at, at + 15)
  end
  return names
end

-- Nothing is left of a settled event.
local function forget(number)
  local event = event_of(number)
  if event then
    local facts = cmsgpack.unpack(event[FACTS])
    local names = names_of(facts[DIGESTS])
    if #names > 0 then
      for at, known in ipairs(call('MGET', unpack(names))) do
        if known == tostring(number) then
          call('DEL', names[at])
        end
      end
    end
    if facts[ODD] then
      call('ZREM', P .. 'i:' .. short(facts[ID]), number)
    end
    if call('ZSCORE', P .. 'parked', number) then
      unpark(number, event)
    end
  end
  call('DEL', key_of(number), P .. 'b:' .. number, P .. 'x:' .. number, P .. 'h:' .. number, P .. 'n:' .. number)
  call('ZREM', P .. 'done', number)
  call('ZREM', P .. 'dead', number)
  call('ZREM', P .. 'untold', number)
end
