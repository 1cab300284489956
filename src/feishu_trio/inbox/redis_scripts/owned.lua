-- What is needed of any event to settle it, if this claim of it is the current one. If not, nothing, and whether it was
-- settled by this very claim: a step may come twice, as its first reply was lost. Whoever takes an event from its owner
-- forgets the token.
local function owned(number, token)
  local state, current, owner, id, lane, parts, error =
    unpack(call('HMGET', key_of(number), 'state', 'token', 'owner', 'id', 'lane', 'parts', 'error'))
  if state ~= 'running' or tonumber(current) ~= token then
    return nil, tonumber(current) == token
  end
  return {owner = owner, id = id, lane = lane, has_more = parts or error}
end
