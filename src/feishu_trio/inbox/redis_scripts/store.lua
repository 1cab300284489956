local held = {} -- lanes that are held, as was seen in this call; none is given up in it

local function is_held(lane, number)
  local name = short(lane)
  local was_held = held[name] or call('HSETNX', P .. 'lanes', name, number) == 0
  held[name] = true
  return was_held
end

-- Store an event as this number.
local function store(number, names, keys, id, kind, lane, body, received, odd)
  local is_blocked = lane and is_held(lane, number)
  local fields = {'state', 'ready', 'type', kind, 'id', id, 'keys', keys, 'received', received, 'stored', now}
  if lane then
    append(fields, 'lane', lane)
  end
  if odd then
    append(fields, 'odd', 1)
    call('ZADD', P .. 'i:' .. short(id), number, number)
  end
  call('HSET', key_of(number), unpack(fields))
  append(strings, P .. 'b:' .. number, body)
  for _, name in ipairs(names) do
    append(strings, name, number)
  end
  rank('live', number)
  if is_blocked then
    rank('l:' .. short(lane), number)
  else
    offer(number, kind)
  end
end

-- Of each event, its number, and whether it is new: unknown by any of its keys.
steps.store = function(window, entries)
  local names, many = {}, {}
  for at, entry in ipairs(entries) do
    names[at] = names_of(entry[1])
    for _, name in ipairs(names[at]) do
      many[#many + 1] = name
    end
  end
  local is_known = are_known(many)
  local last = call('HINCRBY', KEYS[1], 'number', #entries)
  local stored, number = {}, last - #entries
  for at, entry in ipairs(entries) do
    local same, known
    if is_known then
      same, known = find(names[at], window)
    end
    if same then
      renew(same, names[at], known)
      stored[at] = {tonumber(same), false}
    else
      number = number + 1
      store(tostring(number), names[at], unpack(entry))
      stored[at] = {number, true}
    end
  end
  if number < last then
    call('HINCRBY', KEYS[1], 'number', number - last)
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
