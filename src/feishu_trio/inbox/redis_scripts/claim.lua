local LOOKED_AT = 500 -- events that one claim looks at, most of which may be too old
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
  return {handlers, notes}
end

-- Claim one event, unless it is too old, or too young to be parked: what is known of it, and the bytes of its body.
-- In `taken` are those that are not ready any more.
local function take(number, kind, ask, token, taken)
  local id, lane, received, stored, attempts, crashes, parts = unpack(
    call('HMGET', key_of(number), 'id', 'lane', 'received', 'stored', 'attempts', 'crashes', 'parts'))
  if ask.parks and now - math.max(count(stored), count(call('HGET', key_of(number), 'again'))) < PATIENCE then
    return
  end
  taken[#taken + 1] = number
  if ask.max_age and now - count(stored) > ask.max_age then
    bury(number, ask.too_old)
    free(lane)
    return
  end
  local attempt = count(attempts) + 1
  local fields = {'state', 'running', 'token', token, 'owner', ask.owner, 'attempts', attempt}
  if ask.gathers then
    fields[9], fields[10] = 'gathered', 1
  end
  call('HSET', key_of(number), unpack(fields))
  if lane and not ask.in_order then
    call('HDEL', key_of(number), 'lane')
    free(lane)
    lane = false
  end
  local body = call('GET', P .. 'b:' .. number) or ''
  return {
    tonumber(number), token, id, kind, lane, body, received, stored, attempt, count(crashes), ask.gathers,
    parts and parts_of(number),
  }, #body
end

-- All types of which an event may be ready, also since this call began.
local function every_kind()
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
  local function try(number, kind, taken)
    local claim, size = take(number, kind, ask, token, taken)
    looked_at = looked_at + 1
    if claim then
      claims[#claims + 1], numbers[#numbers + 1] = claim, number
      bytes = bytes + size
    end
  end
  if ask.alone then
    local number = call('ZRANGE', P .. 'suspects', 0, 0)[1]
    while number and #claims == 0 do
      local taken = {}
      try(number, call('HGET', key_of(number), 'type'), taken)
      all('ZREM', taken, P .. 'suspects')
      number = call('ZRANGE', P .. 'suspects', 0, 0)[1]
    end
  else
    repeat
      kinds = ask.kinds or every_kind()
      local found = oldest('r:', kinds, ask.limit - #claims)
      is_all = #found < ask.limit - #claims
      local taken = {} -- by type
      for _, each in ipairs(found) do
        if #claims == ask.limit or bytes >= MOST_BYTES then
          break
        end
        local number, kind = unpack(each)
        try(number, kind, list_of(taken, kind))
      end
      for kind, these in pairs(taken) do
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
  return {claims, is_all and bytes < MOST_BYTES, status(ask.owner, ask.version)}
end
