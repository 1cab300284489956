-- What every script begins with. All that an inbox keeps is under KEYS[1], its own hash, and keys that start with it:
--
-- {prefix}             app, version, types, number, token, strict: facts of the inbox, and its counters
-- :e:NUMBER    hash    an event without its body; what is 0 or empty is not there
-- :b:NUMBER    string  its body: what came with it, and its payload
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

local keys_of = {}
local function key_of(number)
  local key = keys_of[number]
  if not key then
    key = P .. 'e:' .. number
    keys_of[number] = key
  end
  return key
end

-- A command for any number of arguments, which are one each or pairs.
local function all(command, key, arguments)
  for at = 1, #arguments, 1000 do
    call(command, key, unpack(arguments, at, math.min(at + 999, #arguments)))
  end
end

local function append(list, first, second)
  local size = #list
  list[size + 1], list[size + 2] = first, second
end

-- What is written for many events as one, with the arguments of each command: by `write`, which is called before anything of
-- it is read, and in the end.
local offered = {} -- type -> numbers for :r:TYPE, twice each
local come, left = {}, {} -- numbers for :live, twice each; and those that are out of it, then or since
local over = {} -- times and numbers for :done
local freed = {} -- owner -> numbers that are out of :o:OWNER
local bodies = {} -- names of what is not needed any more
local holders = {} -- lane -> the number of the event that holds it now, for :lanes; false if none does

local function write()
  for kind, numbers in pairs(offered) do
    all('ZADD', P .. 'r:' .. kind, numbers)
  end
  offered = {}
  all('ZADD', P .. 'live', come)
  all('ZREM', P .. 'live', left)
  all('ZADD', P .. 'done', over)
  for owner, numbers in pairs(freed) do
    all('SREM', P .. 'o:' .. owner, numbers)
  end
  for at = 1, #bodies, 1000 do
    call('DEL', unpack(bodies, at, math.min(at + 999, #bodies)))
  end
  local held, free = {}, {}
  for lane, number in pairs(holders) do
    if number then
      append(held, lane, number)
    else
      free[#free + 1] = lane
    end
  end
  all('HSET', P .. 'lanes', held)
  all('HDEL', P .. 'lanes', free)
  come, left, over, freed, bodies, holders = {}, {}, {}, {}, {}, {}
end

-- A lane or id as a part of keys: whatever its length.
local function short(text)
  return #text > 200 and redis.sha1hex(text) or text
end

-- Up to `limit` of those that stand in `place`, 'r:' or 'p:', by type, the oldest first: number, type of each.
local function oldest(place, kinds, limit)
  write()
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
