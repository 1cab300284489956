-- What routes, users and dead letters ask for.

-- Up to so many of those that are parked of some types are to run, as there is a route: how many.
steps.unpark = function(kinds, limit)
  local found = oldest('p:', kinds, limit)
  local many = math.min(#found, limit)
  for at = 1, many do
    local number, kind = unpack(found[at])
    local lane, crashes = unpack(call('HMGET', key_of(number), 'lane', 'crashes'))
    unpark(number, kind, lane)
    call('HSET', key_of(number), 'again', now)
    rank('live', number)
    enter(number, lane, kind, count(crashes))
  end
  return many
end

-- Dead letters are to run again, as if they had just been stored: how many of these there were, and whether there are
-- others that this owner may tell of.
steps.requeue = function(owner, numbers)
  local many = 0
  for _, number in ipairs(numbers) do
    local state, kind, lane, keys, odd, id =
      unpack(call('HMGET', key_of(number), 'state', 'type', 'lane', 'keys', 'odd', 'id'))
    if state == 'dead' then
      many = many + 1
      local new = call('HINCRBY', KEYS[1], 'number', 1)
      for _, part in ipairs({'e:', 'b:', 'h:', 'n:'}) do
        if call('EXISTS', P .. part .. number) == 1 then
          call('RENAME', P .. part .. number, P .. part .. new)
        end
      end
      for _, name in ipairs(names_of(keys)) do
        if tonumber(call('GET', name)) == tonumber(number) then
          call('SET', name, new)
        end
      end
      if odd then
        call('ZREM', P .. 'i:' .. short(id), number)
        call('ZADD', P .. 'i:' .. short(id), new, new)
      end
      call('ZREM', P .. 'dead', number)
      call('ZREM', P .. 'untold', number)
      rank('live', new)
      call('HDEL', key_of(new), 'attempts', 'crashes', 'teller', 'gathered')
      call('HSET', key_of(new), 'stored', now)
      enter(new, lane, kind, 0)
    end
  end
  return {many, has_untold(owner)}
end

-- Up to `limit` of what runs or waits in a lane, or is parked beside it, is done, but for some: how many, those of them
-- that this owner ran, how many of them have one of these keys, and the highest number to go on with; false at the end.
steps.cancel = function(ask)
  local name = short(ask.lane)
  local upto = ask.upto or count(call('HGET', KEYS[1], 'number'))
  local is_spared, is_known = {}, {}
  for _, number in ipairs(ask.spared) do
    is_spared[number] = true
  end
  for _, key in ipairs(names_of(ask.keys)) do
    local number = call('GET', key)
    if number then
      is_known[number] = true
    end
  end
  local many, known, running = 0, 0, {}
  local function over(number)
    local state, kind, owner, id, lane =
      unpack(call('HMGET', key_of(number), 'state', 'type', 'owner', 'id', 'lane'))
    if is_spared[tonumber(number)] then
      return
    end
    if state == 'running' then
      call('SREM', P .. 'o:' .. owner, number)
      if owner == ask.owner then
        running[#running + 1] = tonumber(number)
      end
    elseif state == 'ready' then
      if call('ZREM', P .. 'l:' .. name, number) == 0 then
        unready(number, kind)
      end
    elseif state == 'waiting' then
      call('ZREM', P .. 'waiting', number)
      call('SREM', P .. 'a:' .. name, number)
    elseif state == 'parked' then
      unpark(number, kind, lane)
    end
    finish(number, true, id, lane)
    call('HDEL', key_of(number), 'token')
    many = many + 1
    known = known + (is_known[number] and 1 or 0)
  end
  -- The holder comes last: nothing is to become ready meanwhile.
  write()
  local aside = call('SRANDMEMBER', P .. 'a:' .. name, ask.limit + 1)
  for at = 1, math.min(#aside, ask.limit) do
    over(aside[at])
  end
  local most = ask.limit + #ask.spared
  local behind = call('ZRANGEBYSCORE', P .. 'l:' .. name, '-inf', upto, 'LIMIT', 0, most)
  for _, number in ipairs(behind) do
    over(number)
  end
  if #aside > ask.limit or #behind == most then
    return {many, running, known, upto}
  end
  local holder = call('HGET', P .. 'lanes', name)
  if holder and tonumber(holder) <= upto and not is_spared[tonumber(holder)] then
    over(holder)
    free(ask.lane)
  end
  return {many, running, known, false}
end

-- Up to so many dead letters that nobody has been told of, the oldest first: this owner tells of them, if it is one still.
steps.untold = function(owner, limit)
  local found, bytes = {}, 0
  if not call('ZSCORE', P .. 'owners', owner) then
    return found
  end
  for _, number in ipairs(call('ZRANGE', P .. 'untold', 0, 999)) do
    if #found == limit or bytes >= MOST_BYTES then
      break
    end
    if is_free_to_tell(number, owner) then
      call('HSET', key_of(number), 'teller', owner)
      found[#found + 1] = details(number)
      bytes = bytes + call('STRLEN', P .. 'b:' .. number)
    end
  end
  return found
end
