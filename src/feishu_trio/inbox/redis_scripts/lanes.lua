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
release = function(number, kind, crashes)
  if crashes < SUSPECT then
    offer(number, kind)
  else
    call('ZADD', P .. 'suspects', number, number)
    readied = readied + 1
  end
end

-- It cannot be claimed any more: whether it could.
local function unready(number, kind)
  write()
  return call('ZREM', P .. 'r:' .. kind, number) + call('ZREM', P .. 'suspects', number) > 0
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
  following[#following + 1] = number
end

-- An event that stood beside its lane is to run: as the next, if another of the lane runs.
local function enter(number, event)
  if event[LANE] then
    local name = short(event[LANE])
    write()
    local holder = tonumber(call('HGET', P .. 'lanes', name))
    if holder and holder ~= tonumber(number) then
      local behind = number
      if holder > tonumber(number) and unready(holder, event_of(holder)[KIND]) then
        behind = holder
      end
      call('ZADD', P .. 'l:' .. name, behind, behind)
      if behind == number then
        return
      end
    end
    call('HSET', P .. 'lanes', name, number)
  end
  release(number, event[KIND], event[CRASHES])
end

-- Those whose next attempt is due are to run.
local function wake(limit)
  for _, number in ipairs(call('ZRANGEBYSCORE', P .. 'waiting', '-inf', now, 'LIMIT', 0, limit)) do
    local event = event_of(number)
    call('ZREM', P .. 'waiting', number)
    if event[LANE] then
      call('SREM', P .. 'a:' .. short(event[LANE]), number)
    end
    enter(number, event)
  end
end
