-- Whether there is a dead letter that this owner may tell of: nobody else who lives does.
local function is_free_to_tell(number, owner)
  local teller = call('HGET', P .. 'x:' .. number, 'teller')
  return not teller or teller == owner or not call('ZSCORE', P .. 'owners', teller)
end

local function has_untold(owner)
  for _, number in ipairs(call('ZRANGE', P .. 'untold', 0, 199)) do
    if is_free_to_tell(number, owner) then
      return true
    end
  end
  return false
end

-- What there is to do besides: whether there are events that must run alone, and dead letters to be told of; in how many
-- seconds the next attempt is due; the types that may be ready, and those that are parked, if they are others than those
-- of `types`, their version.
local function status(owner, version)
  local due = call('ZRANGE', P .. 'waiting', 0, 0, 'WITHSCORES')[2]
  local current = count(call('HGET', KEYS[1], 'types'))
  return {
    call('ZCARD', P .. 'suspects') > 0,
    has_untold(owner),
    due and due - now or false,
    current,
    current ~= version and call('SMEMBERS', P .. 'types'),
    call('SMEMBERS', P .. 'unrouted'),
  }
end
