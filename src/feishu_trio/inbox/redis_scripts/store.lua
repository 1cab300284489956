-- Store an event as number `new`, unless it is known: its number, and whether it is new.
local function store(new, window, keys, id, kind, lane, body, received, odd)
  local names = names_of(keys)
  local number, known = find(names, window)
  if number then
    renew(number, names, known)
    return {tonumber(number), false}
  end
  number = tostring(new)
  local is_blocked = lane and call('HSETNX', P .. 'lanes', short(lane), number) == 0
  local fields = {
    'state', is_blocked and 'blocked' or 'ready', 'type', kind, 'id', id, 'keys', keys, 'received', received,
    'stored', now,
  }
  if lane then
    append(fields, 'lane', lane)
  end
  if odd then
    append(fields, 'odd', 1)
    call('ZADD', P .. 'i:' .. short(id), number, number)
  end
  call('HSET', key_of(number), unpack(fields))
  local values = {P .. 'b:' .. number, body}
  for _, name in ipairs(names) do
    append(values, name, number)
  end
  call('MSET', unpack(values))
  append(come, number, number)
  if is_blocked then
    call('ZADD', P .. 'l:' .. short(lane), number, number)
  else
    offer(number, kind)
  end
  return {new, true}
end

steps.store = function(window, entries)
  local last = call('HINCRBY', KEYS[1], 'number', #entries)
  local stored, used = {}, last - #entries
  for at, entry in ipairs(entries) do
    stored[at] = store(used + 1, window, unpack(entry))
    used = used + (stored[at][2] and 1 or 0)
  end
  if used < last then
    call('HINCRBY', KEYS[1], 'number', used - last)
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
