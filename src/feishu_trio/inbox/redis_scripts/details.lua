local PLACES = {'waiting', 'done', 'dead', 'parked'}

-- Whether another event holds its lane.
local function is_blocked(number, lane)
  return lane and count(call('HGET', P .. 'lanes', short(lane))) ~= tonumber(number)
end

-- Its state, and since when it is done, dead or parked, or when its next attempt is due, or else the claim if it runs.
local function state_of(number, lane)
  local claim = call('HGET', P .. 'running', number)
  if claim then
    return 'running', nil, read_claim(claim)
  end
  for _, place in ipairs(PLACES) do
    local at = call('ZSCORE', P .. place, number)
    if at then
      return place, tonumber(at)
    end
  end
  return is_blocked(number, lane) and 'blocked' or 'ready'
end

-- An event without its body and its handlers; false if it is not there.
local function summary(number)
  local event = event_of(number)
  if not event then
    return false
  end
  local state, at, claim = state_of(number, event[LANE])
  local facts = cmsgpack.unpack(event[FACTS])
  local is_waiting = state == 'waiting'
  return {
    tonumber(number), facts[ID], event[KIND], state, event[LANE], event[ATTEMPTS] + (claim and 1 or 0), event[CRASHES],
    facts[RECEIVED], count(event[STORED]), is_waiting and at or false, not is_waiting and at or false,
    event[MORE] and call('HGET', P .. 'x:' .. number, 'error'),
  }
end

-- All there is of it.
local function details(number)
  local event = summary(number)
  if not event then
    return false
  end
  local handlers = {}
  local ended = call('HGETALL', P .. 'h:' .. number)
  for at = 1, #ended, 2 do
    local when, ok, text = unpack(cmsgpack.unpack(ended[at + 1]))
    handlers[#handlers + 1] = {ended[at], when, not ok and text}
  end
  return {event, call('GET', P .. 'b:' .. number), handlers}
end
