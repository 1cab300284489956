local LOOKED_AT = 500 -- events that one claim looks at, most of which may be too old
local FEW, AHEAD = 4, 16 -- events that are read as one: at first, and at the most; some in vain, if they are large
local PATIENCE = 2 -- seconds for which what is only to be parked is left to others

local function parts_of(number)
  local handlers, notes = {}, {}
  local ended = call('HGETALL', P .. 'h:' .. number)
  for at = 1, #ended, 2 do
    local _, ok, result = unpack(cmsgpack.unpack(ended[at + 1]))
    if ok then
      handlers[#handlers + 1] = {ended[at], result}
    end
  end
  local noted = call('HGETALL', P .. 'n:' .. number)
  for at = 1, #noted, 2 do
    local handler, key = unpack(cmsgpack.unpack(noted[at]))
    notes[#notes + 1] = {handler, key, noted[at + 1]}
  end
  return (#ended > 0 or #noted > 0) and {handlers, notes}
end

-- Whether an event is not to be claimed after all: it is too young to be parked, or so old that it is a dead letter.
local function is_left(number, event, ask, gone)
  if ask.parks and now - math.max(event[STORED], count(call('HGET', P .. 'x:' .. number, 'again'))) < PATIENCE then
    return true
  end
  if ask.max_age and now - event[STORED] > ask.max_age then
    gone[#gone + 1] = number
    bury(number, event, ask.too_old)
    free(event[LANE])
    return true
  end
end

-- It leaves its lane to the others.
local function step_aside(number, event)
  if event[LANE] then
    free(event[LANE])
    event[LANE] = false
    save(number, event)
  end
end

-- All types of which an event may be ready, also since this call began.
local function every_kind()
  write()
  local kinds = call('SMEMBERS', P .. 'types')
  for kind in pairs(tickets) do
    if call('SISMEMBER', P .. 'types', kind) == 0 then
      kinds[#kinds + 1] = kind
    end
  end
  return kinds
end

-- Claim events for an owner: false if it is none; what was claimed, whether all there is was, and the status.
steps.claim = function(ask)
  if not call('ZSCORE', P .. 'owners', ask.owner) then
    return false
  end
  wake(math.max(ask.limit, 100))
  local kinds
  local token = call('HINCRBY', KEYS[1], 'token', 1)
  local claims, numbers, bytes, looked_at = {}, {}, 0, 0
  local is_all = false
  local beginning = pack_claim(token, ask.gathers, ask.owner)
  local is_plain = ask.in_order and not ask.parks and not ask.max_age
  -- Of these, as many as there may be. Events are read some at a time.
  local function try(found, gone)
    local strings, first, behind = nil, 1, 1
    for at, each in ipairs(found) do
      if #claims == ask.limit or bytes >= MOST_BYTES then
        return
      end
      if at == behind then -- as many again as there were before
        first, behind = at, at + math.min(math.max(at - 1, FEW), AHEAD)
        local names = {}
        for ahead = at, math.min(behind - 1, #found) do
          append(names, key_of(found[ahead][1]), P .. 'b:' .. found[ahead][1])
        end
        strings = call('MGET', unpack(names))
      end
      local number, kind = unpack(each)
      local place = (at - first) * 2
      local packed, body, these = strings[place + 1], strings[place + 2] or '', list_of(gone, kind)
      local event = not is_plain and read(packed)
      looked_at = looked_at + 1
      if is_plain or not is_left(number, event, ask, these) then
        if not ask.in_order then
          step_aside(number, event)
          packed = pack(event)
        end
        these[#these + 1], numbers[#numbers + 1] = number, number
        append(taken, number, beginning .. packed)
        claims[#claims + 1] = {number, packed, body, packed:byte(MORE_AT) == 1 and parts_of(number) or nil}
        bytes = bytes + #body
      end
    end
  end
  if ask.alone then
    repeat
      local number = call('ZRANGE', P .. 'suspects', 0, 0)[1]
      local found, gone = number and {{number, 'suspects'}} or {}, {}
      try(found, gone)
      all('ZREM', gone.suspects or {}, P .. 'suspects')
    until #found == 0 or #claims > 0 or not gone.suspects
  else
    repeat
      kinds = ask.kinds or every_kind()
      local found = oldest('r:', kinds, ask.limit - #claims)
      is_all = #found < ask.limit - #claims
      local gone = {} -- by type
      try(found, gone)
      for kind, these in pairs(gone) do
        all('ZREM', these, P .. 'r:' .. kind)
      end
      -- Others may be ready in the place of these.
      local again = not ask.parks and (ask.max_age or not ask.in_order)
      is_all = is_all and (#found == 0 or not again)
    until #found == 0 or not again or #claims == ask.limit or bytes >= MOST_BYTES or looked_at >= LOOKED_AT
    if is_all and not ask.parks then
      for _, kind in ipairs(kinds) do
        call('DEL', P .. 't:' .. kind)
      end
    end
  end
  all('SADD', numbers, P .. 'o:' .. ask.owner)
  return {token, ask.gathers, claims, is_all and bytes < MOST_BYTES, status(ask.owner, ask.version)}
end
