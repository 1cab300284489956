-- What is needed of an event to settle it, if this claim of it is the current one; nothing if it is outdated.
local function owned(number, token)
  local state, current, owner, lane, attempts, crashes, error, parts = unpack(
    call('HMGET', key_of(number), 'state', 'token', 'owner', 'lane', 'attempts', 'crashes', 'error', 'parts'))
  if state ~= 'running' or tonumber(current) ~= token then
    return
  end
  local has_more = error or parts or crashes
  return {owner = owner, lane = lane, attempts = count(attempts), crashes = count(crashes), has_more = has_more}
end
