-- What the inbox's own key has: the version of its keys, and its app. The version is 0 if there is no inbox yet, also where
-- one was emptied while processes had it open, and -1 if another program has the key.
local function facts()
  local kind = call('TYPE', KEYS[1]).ok
  if kind == 'none' then
    return {0, ''}
  end
  if kind ~= 'hash' then
    return {-1, ''}
  end
  local version, app, token, number, types = unpack(call('HMGET', KEYS[1], 'version', 'app', 'token', 'number', 'types'))
  if not (version or token or number or types) then
    return {-1, ''}
  end
  return {count(version), app or ''}
end
