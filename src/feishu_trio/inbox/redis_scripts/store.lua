local held = {} -- lanes that are held, as was seen in this call; none is given up in it

-- See which lanes of these events are held.
local function look_at_lanes(entries)
  local names = {}
  for _, entry in ipairs(entries) do
    local lane = entry[2]
    if lane and held[short(lane)] == nil then
      held[short(lane)] = false
      names[#names + 1] = short(lane)
    end
  end
  if #names > 0 then
    for at, holder in ipairs(call('HMGET', P .. 'lanes', unpack(names))) do
      held[names[at]] = holder and true
    end
  end
end

-- Whether a lane was held before this event, which else holds it.
local function is_held(lane, number)
  local name = short(lane)
  if held[name] then
    return true
  end
  held[name], holders[name] = true, number
  return false
end

-- Store an event as this number. It comes packed, but for when it was stored.
local function store(number, names, kind, lane, event, body, odd_id)
  local is_blocked = lane and is_held(lane, number)
  if odd_id then
    call('ZADD', P .. 'i:' .. short(odd_id), number, number)
  end
  append(strings, key_of(number), moment .. event)
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
    names[at] = names_of(entry[6])
    for _, name in ipairs(names[at]) do
      many[#many + 1] = name
    end
  end
  local is_known = are_known(many)
  look_at_lanes(entries)
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
  local claim = owned(number, token)
  if not claim then
    return false
  end
  has_parts(number, claim)
  call('HSET', P .. 'n:' .. number, cmsgpack.pack({handler, key}), value)
  return true
end
