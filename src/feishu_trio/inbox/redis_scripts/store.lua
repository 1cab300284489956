-- Store an event, unless it is known: its number, and whether it is new.
local function store(window, keys, id, kind, lane, payload, message, trace, received, odd)
  local names = names_of(keys)
  local number, known = find(names, window)
  if number then
    renew(number, names, known)
    return {tonumber(number), false}
  end
  number = call('HINCRBY', KEYS[1], 'number', 1)
  local is_blocked = lane and call('HSETNX', P .. 'lanes', short(lane), number) == 0
  local fields = {
    'state', is_blocked and 'blocked' or 'ready', 'type', kind, 'id', id, 'keys', keys, 'received', received,
    'stored', now,
  }
  local function add(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if message ~= '' then
    add('message', message)
  end
  if trace ~= '' then
    add('trace', trace)
  end
  if lane then
    add('lane', lane)
  end
  if odd then
    add('odd', 1)
    call('ZADD', P .. 'i:' .. short(id), number, number)
  end
  call('HSET', key_of(number), unpack(fields))
  local values = {P .. 'b:' .. number, payload}
  for _, name in ipairs(names) do
    values[#values + 1] = name
    values[#values + 1] = number
  end
  call('MSET', unpack(values))
  call('ZADD', P .. 'live', number, number)
  if is_blocked then
    call('ZADD', P .. 'l:' .. short(lane), number, number)
  else
    offer(number, kind)
  end
  return {number, true}
end

steps.store = function(window, entries)
  local stored = {}
  for at, entry in ipairs(entries) do
    stored[at] = store(window, unpack(entry))
  end
  return stored
end

-- Keep a value of a handler until the event is done: whether the claim is the current one.
steps.note = function(number, token, handler, key, value)
  if not owned(number, token) then
    return false
  end
  call('HSET', key_of(number), 'parts', 1)
  call('HSET', P .. 'n:' .. number, cmsgpack.pack({handler, key}), value)
  return true
end
