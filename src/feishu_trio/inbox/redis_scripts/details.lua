local SCORED = {waiting = true, done = true, dead = true, parked = true}

-- Its state: what is ready, and does not hold its lane, is blocked.
local function state_of(number, state, lane)
  if state == 'ready' and lane and count(call('HGET', P .. 'lanes', short(lane))) ~= tonumber(number) then
    return 'blocked'
  end
  return state
end

-- An event without its body and its handlers; false if it is not there.
local function summary(number)
  local fields = call('HGETALL', key_of(number))
  if #fields == 0 then
    return false
  end
  local event = {}
  for at = 1, #fields, 2 do
    event[fields[at]] = fields[at + 1]
  end
  local at = SCORED[event.state] and tonumber(call('ZSCORE', P .. event.state, number))
  local is_waiting = event.state == 'waiting'
  return {
    tonumber(number), event.id, event.type, state_of(number, event.state, event.lane), event.lane or false,
    count(event.attempts), count(event.crashes), count(event.received), count(event.stored), is_waiting and at or false,
    not is_waiting and at or false, event.error or false,
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
