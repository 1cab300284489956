-- What is needed of an event to settle it, if this claim of it is the current one; nothing if it is outdated.
local function owned(number, token)
  local state, current, owner, lane, attempts, crashes, parts =
    unpack(call('HMGET', key_of(number), 'state', 'token', 'owner', 'lane', 'attempts', 'crashes', 'parts'))
  if state ~= 'running' or tonumber(current) ~= token then
    return
  end
  return {owner = owner, lane = lane, attempts = count(attempts), crashes = count(crashes), has_parts = parts}
end
