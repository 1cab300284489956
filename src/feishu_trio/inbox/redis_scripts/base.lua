-- What every script begins with. All that an inbox keeps is under KEYS[1], its own hash, and keys that start with it:
--
-- {prefix}             app, version, types, number, token: facts of the inbox, and its counters
-- :e:NUMBER    string  an event without its body, packed as below; its state is where its number stands
-- :b:NUMBER    string  its body: what came with it, and its payload
-- :x:NUMBER    hash    what few have: its error, when it was to run again after it was parked, who tells of it
-- :h:NUMBER    hash    handler -> [when it ended, whether it succeeded, its result or error]
-- :n:NUMBER    hash    [handler, key] -> what the handler noted
-- :k:DIGEST    string  a key by which an event is known -> its number
-- :i:ID        zset    the numbers of events whose key cannot be told from their id
-- :live        zset    the numbers of all that are ready, blocked, running or waiting
-- :running     hash    the numbers of those that are claimed -> the event, and its claim
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
local moment = string.format('%017.6f', now) -- as text, which Lua makes of a number slowly
local asked = cmsgpack.unpack(ARGV[1])
local steps = {}
local MOST_BYTES = 8388608 -- of payloads in one reply, unless one has more
local tickets, readied = {}, 0 -- how many became ready in this call, by type and together

-- An event, in the order in which `struct` packs it: when it was stored, how many attempts and crashes there were, whether
-- there is more of it than this and its body, whether it has a lane, the claim that settled it last, its type and its lane.
-- Then come its facts, which few ask for, packed by themselves: its id, its keys, when it was received, and whether its
-- key cannot be told from its id. As a list it is:
local STORED, ATTEMPTS, CRASHES, MORE, LANE, TOKEN, KIND, FACTS = 1, 2, 3, 4, 5, 6, 7, 8
local ID, DIGESTS, RECEIVED, ODD = 1, 2, 3, 4
local SHAPE = '>c17I4I4BBdI4c0I4c0'
local MORE_AT = 26 -- which byte that is

local function read(packed, first)
  local stored, attempts, crashes, more, has_lane, token, kind, lane, at = struct.unpack(SHAPE, packed, first or 1)
  return {stored, attempts, crashes, more == 1, has_lane == 1 and lane, token, kind, packed:sub(at)}
end

local function pack(event)
  local stored, attempts, crashes, more, lane, token, kind, facts = unpack(event)
  return struct.pack(SHAPE, stored, attempts, crashes, more and 1 or 0, lane and 1 or 0, token, #kind, kind, #(lane or ''),
    lane or '') .. facts
end

local keys_of = {}
local function key_of(number)
  local key = keys_of[number]
  if not key then
    key = P .. 'e:' .. number
    keys_of[number] = key
  end
  return key
end

local function event_of(number)
  local packed = call('GET', key_of(number))
  return packed and read(packed)
end

local function save(number, event)
  call('SET', key_of(number), pack(event))
end

local function append(list, first, second)
  local size = #list
  list[size + 1], list[size + 2] = first, second
end

-- A command for any number of arguments, which are one each or pairs, behind a key if it has one.
local function all(command, arguments, key)
  for at = 1, #arguments, 1000 do
    if key then
      call(command, key, unpack(arguments, at, math.min(at + 999, #arguments)))
    else
      call(command, unpack(arguments, at, math.min(at + 999, #arguments)))
    end
  end
end

-- What is written for many events as one: by `write`, which is called before anything of it is read, and in the end.
local strings = {} -- names and values
local ranked = {} -- name of a zset whose scores are its numbers -> numbers, twice each
local left = {} -- numbers that are out of :live, then or since
local over = {} -- times and numbers for :done
local taken = {} -- numbers and claims for :running
local settled = {} -- numbers that are out of it, then or since
local freed = {} -- owner -> numbers that are out of :o:OWNER
local needless = {} -- names
local holders = {} -- lane -> the number for :lanes; false if none holds it
local following = {} -- numbers that hold a lane now, and are to be ready
local release -- they are, as `lanes.lua` says

local function write()
  all('MSET', strings)
  for first = 1, #following, 1000 do
    local names = {}
    for at = first, math.min(first + 999, #following) do
      names[#names + 1] = key_of(following[at])
    end
    for at, packed in ipairs(call('MGET', unpack(names))) do
      local event = read(packed)
      release(following[first + at - 1], event[KIND], event[CRASHES])
    end
  end
  following = {}
  for name, numbers in pairs(ranked) do
    all('ZADD', numbers, P .. name)
  end
  all('ZREM', left, P .. 'live')
  all('ZADD', over, P .. 'done')
  all('HSET', taken, P .. 'running')
  all('HDEL', settled, P .. 'running')
  for owner, numbers in pairs(freed) do
    all('SREM', numbers, P .. 'o:' .. owner)
  end
  all('DEL', needless)
  local held, free = {}, {}
  for lane, number in pairs(holders) do
    if number then
      append(held, lane, number)
    else
      free[#free + 1] = lane
    end
  end
  all('HSET', held, P .. 'lanes')
  all('HDEL', free, P .. 'lanes')
  strings, ranked, left, over, taken, settled, freed, needless, holders = {}, {}, {}, {}, {}, {}, {}, {}, {}
end

local function list_of(lists, name)
  local list = lists[name]
  if not list then
    list = {}
    lists[name] = list
  end
  return list
end

local function rank(name, number)
  append(list_of(ranked, name), number, number)
end

-- A lane or id as a part of keys: whatever its length.
local function short(text)
  return #text > 200 and redis.sha1hex(text) or text
end

-- Up to `limit` of those that stand in `place`, 'r:' or 'p:', by type, the oldest first: number, as text, and type
-- of each.
local function oldest(place, kinds, limit)
  write()
  local found = {}
  for _, kind in ipairs(kinds) do
    for _, number in ipairs(call('ZRANGE', P .. place .. kind, 0, limit - 1)) do
      found[#found + 1] = {number, kind}
    end
  end
  if #kinds > 1 then
    table.sort(found, function(a, b) return #a[1] < #b[1] or #a[1] == #b[1] and a[1] < b[1] end)
  end
  return found
end

-- What is not there, or does not count, is 0.
local function count(text)
  return tonumber(text) or 0
end
