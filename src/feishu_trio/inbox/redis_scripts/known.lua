local MOST_KEYS = 100 -- of an event: one that comes with ever new ones is known by the first of them

-- The event of one of these keys has arrived again: it is known by all of them, and if it is done, its window starts anew.
local function renew(number, names, known)
  local event = event_of(number)
  local facts = cmsgpack.unpack(event[FACTS])
  local fresh = {}
  for at, name in ipairs(names) do
    if not known[at] and #facts[DIGESTS] / 16 + #fresh < MOST_KEYS then
      call('SET', name, number)
      fresh[#fresh + 1] = name:sub(-16)
    end
  end
  if #fresh > 0 then
    facts[DIGESTS] = facts[DIGESTS] .. table.concat(fresh)
    event[FACTS] = cmsgpack.pack(facts)
    save(number, event)
    local claim = claim_of(number)
    if claim then
      claim[FACTS] = event[FACTS]
      keep(number, claim)
    end
  end
  call('ZADD', P .. 'done', 'XX', 'GT', moment, number)
end

-- Whether an event may have one of these keys, or two of them are the same.
local function are_known(names)
  write()
  local is_there = {}
  for at, name in ipairs(names) do
    if is_there[name] then
      return true
    end
    is_there[name] = true
  end
  for at = 1, #names, 1000 do
    if call('EXISTS', unpack(names, at, math.min(at + 999, #names))) > 0 then
      return true
    end
  end
  return false
end

-- The number of the event that has one of these keys, and the numbers of each; nothing if there is none. One that was
-- done longer ago than the window is none.
local function find(names, window)
  if #names == 0 then
    return
  end
  write()
  local known = call('MGET', unpack(names))
  for _, number in ipairs(known) do
    if number then
      local settled = call('ZSCORE', P .. 'done', number)
      if not settled or settled + window > now then
        return number, known
      end
      forget(number)
      return find(names, window)
    end
  end
end
