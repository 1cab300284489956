-- How events end: done, dead, forgotten.

local LONG = 256 -- bytes of an id or a lane beyond which they take memory: Feishu's have less than 100

-- Only what it is known by is kept of it, and what it was. `has_more` if it may have handlers' results, or an error.
local function finish(number, has_more, id, lane)
  call('HSET', key_of(number), 'state', 'done')
  needless[#needless + 1] = P .. 'b:' .. number
  if has_more then
    call('HDEL', key_of(number), 'error', 'parts')
    append(needless, P .. 'h:' .. number, P .. 'n:' .. number)
  end
  if #id > LONG then -- its keys are what it is known by
    local beginning = id:sub(1, LONG):gsub('[\192-\255][\128-\191]*$', '') -- in whole characters
    call('HSET', key_of(number), 'id', beginning)
    call('HDEL', key_of(number), 'odd')
    call('ZREM', P .. 'i:' .. short(id), number)
  end
  if lane and #lane > LONG then
    call('HDEL', key_of(number), 'lane')
  end
  left[#left + 1] = number
  append(over, now, number)
end

-- It is a dead letter, of which nobody has been told.
local function bury(number, reason)
  call('HSET', key_of(number), 'state', 'dead', 'error', reason)
  left[#left + 1] = number
  call('ZADD', P .. 'dead', now, number)
  call('ZADD', P .. 'untold', number, number)
end

-- What is parked is so no more.
local function unpark(number, kind, lane)
  call('ZREM', P .. 'parked', number)
  if call('ZREM', P .. 'p:' .. kind, number) == 1 and call('EXISTS', P .. 'p:' .. kind) == 0 then
    call('SREM', P .. 'unrouted', kind)
  end
  if lane then
    call('SREM', P .. 'a:' .. short(lane), number)
  end
end

-- The names of the keys of an event, of the 16 bytes that each has.
local function names_of(keys)
  local names = {}
  for at = 1, #(keys or ''), 16 do
    names[#names + 1] = P .. 'k:' .. keys:sub(at, at + 15)
  end
  return names
end

-- Nothing is left of a settled event.
local function forget(number)
  local keys, kind, lane, odd, id, state =
    unpack(call('HMGET', key_of(number), 'keys', 'type', 'lane', 'odd', 'id', 'state'))
  local names = names_of(keys)
  if #names > 0 then
    for at, known in ipairs(call('MGET', unpack(names))) do
      if known == tostring(number) then
        call('DEL', names[at])
      end
    end
  end
  if odd then
    call('ZREM', P .. 'i:' .. short(id), number)
  end
  if state == 'parked' then
    unpark(number, kind, lane)
  end
  call('DEL', key_of(number), P .. 'b:' .. number, P .. 'h:' .. number, P .. 'n:' .. number)
  call('ZREM', P .. 'done', number)
  call('ZREM', P .. 'dead', number)
  call('ZREM', P .. 'untold', number)
end
