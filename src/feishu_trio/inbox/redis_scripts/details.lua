-- An event without its payload and its handlers; false if it is not there.
local function summary(number)
  local fields = call('HGETALL', key_of(number))
  if #fields == 0 then
    return false
  end
  local event = {}
  for at = 1, #fields, 2 do
    event[fields[at]] = fields[at + 1]
  end
  return {
    tonumber(number), event.id, event.type, event.state, event.lane or false, count(event.attempts),
    count(event.crashes), count(event.received), count(event.stored), tonumber(event.due) or false,
    tonumber(event.settled) or false, event.error or false, event.message or '', event.trace or '',
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
