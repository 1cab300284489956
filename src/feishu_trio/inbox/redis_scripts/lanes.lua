-- Events of a lane follow one another: at most one is ready or runs, and holds the lane; the others are blocked behind
-- it. One that waits for its next attempt stands beside its lane, unless order is strict; due again, it is the next.

local SUSPECT = 2 -- crashes from which on an event runs with no other beside it

-- It can be claimed from here on.
local function offer(number, kind)
  rank('r:' .. kind, number)
  tickets[kind] = (tickets[kind] or 0) + 1
  readied = readied + 1
end

-- It can be claimed, with others beside it, or alone.
local function release(number, kind, crashes)
  if crashes < SUSPECT then
    offer(number, kind)
  else
    call('ZADD', P .. 'suspects', number, number)
    readied = readied + 1
  end
end

-- It is ready.
local function ready(number, kind, crashes)
  call('HSET', key_of(number), 'state', 'ready')
  release(number, kind, crashes)
end

-- It cannot be claimed any more.
local function unready(number, kind)
  write()
  if call('ZREM', P .. 'r:' .. kind, number) == 0 then
    call('ZREM', P .. 'suspects', number)
  end
end

-- The event that held this lane does not any more: the next is ready.
local function free(lane)
  if not lane then
    return
  end
  local name = short(lane)
  local number = call('ZPOPMIN', P .. 'l:' .. name)[1]
  if not number then
    holders[name] = false
    return
  end
  holders[name] = number
  local kind, crashes = unpack(call('HMGET', key_of(number), 'type', 'crashes'))
  release(number, kind, count(crashes))
end

-- An event that stood beside its lane is to run: as the next, if another of the lane runs.
local function enter(number, lane, kind, crashes)
  call('HSET', key_of(number), 'state', 'ready')
  if lane then
    local name = short(lane)
    write()
    local holder = tonumber(call('HGET', P .. 'lanes', name))
    if holder and holder ~= tonumber(number) then
      local state, its_kind = unpack(call('HMGET', key_of(holder), 'state', 'type'))
      local behind = number
      if state == 'ready' and holder > tonumber(number) then
        unready(holder, its_kind)
        behind = holder
      end
      call('ZADD', P .. 'l:' .. name, behind, behind)
      if behind == number then
        return
      end
    end
    call('HSET', P .. 'lanes', name, number)
  end
  release(number, kind, crashes)
end

-- Those whose next attempt is due are to run.
local function wake(limit)
  for _, number in ipairs(call('ZRANGEBYSCORE', P .. 'waiting', '-inf', now, 'LIMIT', 0, limit)) do
    local lane, kind, crashes = unpack(call('HMGET', key_of(number), 'lane', 'type', 'crashes'))
    call('ZREM', P .. 'waiting', number)
    if lane then
      call('SREM', P .. 'a:' .. short(lane), number)
    end
    enter(number, lane, kind, count(crashes))
  end
end
