-- What every script begins with. All that an inbox keeps is under KEYS[1], its own hash, and keys that start with it:
--
-- {prefix}             app, version, types, number, token, strict: facts of the inbox, and its counters
-- :e:NUMBER    hash    an event without its payload; what is 0 or empty is not there
-- :b:NUMBER    string  its payload
-- :h:NUMBER    hash    handler -> [when it ended, whether it succeeded, its result or error]
-- :n:NUMBER    hash    [handler, key] -> what the handler noted
-- :k:DIGEST    string  a key by which an event is known -> its number
-- :i:ID        zset    the numbers of events whose key cannot be told from their id
-- :live        zset    the numbers of all that are ready, blocked, running or waiting
-- :r:TYPE      zset    the numbers of those that are ready
-- :suspects    zset    the numbers of those that are ready, and must run alone
-- :t:TYPE      list    a ticket for each that became ready: taking one out wakes one of those who wait
-- :waiting     zset    numbers, by when they are due
-- :lanes       hash    lane -> the number of the event that holds it
-- :l:LANE      zset    the numbers of those that are blocked behind it
-- :a:LANE      set     the numbers of those that stand beside it: waiting or parked
-- :owners      zset    those who claim, by when their lease ends
-- :o:OWNER     set     the numbers of what they have claimed
-- :w:OWNER     list    what ends their waiting for tickets
-- :done, :dead, :parked    zset    numbers, by when they became so
-- :p:TYPE      zset    the numbers of those that are parked
-- :types       set     the types that may be ready
-- :unrouted    set     the types that are parked
-- :untold      zset    the numbers of dead letters that nobody has been told of
--
-- A script takes a list of steps, each with its arguments, and gives back what each returned. Nothing here may fail in
-- the midst of a step, for what is written by then stays.
local P = KEYS[1] .. ':'
local call = redis.call
local clock = call('TIME')
local now = clock[1] + clock[2] / 1000000
local steps = {}
local MOST_BYTES = 8388608 -- of payloads in one reply, unless one has more
local tickets, readied = {}, 0 -- how many became ready in this call, by type and together

local function key_of(number)
  return P .. 'e:' .. number
end

-- A lane or id as a part of keys: whatever its length.
local function short(text)
  return #text > 200 and redis.sha1hex(text) or text
end

-- Up to `limit` of those that stand in `place`, 'r:' or 'p:', by type, the oldest first: number, type of each.
local function oldest(place, kinds, limit)
  local found = {}
  for _, kind in ipairs(kinds) do
    for _, number in ipairs(call('ZRANGE', P .. place .. kind, 0, limit - 1)) do
      found[#found + 1] = {tonumber(number), kind}
    end
  end
  if #kinds > 1 then
    table.sort(found, function(a, b) return a[1] < b[1] end)
  end
  return found
end

-- A field that is not there, or does not count, is 0.
local function count(field)
  return tonumber(field) or 0
end
