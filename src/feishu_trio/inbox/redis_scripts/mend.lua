-- What routes, users and dead letters ask for.

-- Up to so many of those that are parked of some types are to run, as there is a route: how many.
steps.unpark = function(kinds, limit)
  local found = oldest('p:', kinds, limit)
  local many = math.min(#found, limit)
  for at = 1, many do
    local number = found[at][1]
    local event = event_of(number)
    unpark(number, event)
    event[MORE] = true
    save(number, event)
    call('HSET', P .. 'x:' .. number, 'again', moment)
    rank('live', number)
    enter(number, event)
  end
  return many
end

-- Dead letters are to run again, as if they had just been stored: how many of these there were, and whether there are
-- others that this owner may tell of.
steps.requeue = function(owner, numbers)
  local many = 0
  for _, number in ipairs(numbers) do
    if call('ZREM', P .. 'dead', number) == 1 then
      many = many + 1
      local new = call('HINCRBY', KEYS[1], 'number', 1)
      for _, part in ipairs({'e:', 'b:', 'x:', 'h:', 'n:'}) do
        if call('EXISTS', P .. part .. number) == 1 then
          call('RENAME', P .. part .. number, P .. part .. new)
        end
      end
      local event = event_of(new)
      local facts = cmsgpack.unpack(event[FACTS])
      for _, name in ipairs(names_of(facts[DIGESTS])) do
        if tonumber(call('GET', name)) == tonumber(number) then
          call('SET', name, new)
        end
      end
      if facts[ODD] then
        call('ZREM', P .. 'i:' .. short(facts[ID]), number)
        call('ZADD', P .. 'i:' .. short(facts[ID]), new, new)
      end
      call('ZREM', P .. 'untold', number)
      rank('live', new)
      call('HDEL', P .. 'x:' .. new, 'teller')
      event[ATTEMPTS], event[CRASHES], event[STORED] = 0, 0, moment
      save(new, event)
      enter(new, event)
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
    if is_spared[tonumber(number)] then
      return
    end
    local event = event_of(number)
    local state, _, claim = state_of(number, event[LANE])
    if state == 'running' then
      call('HDEL', P .. 'running', number)
      call('SREM', P .. 'o:' .. claim[OWNER], number)
      if claim[OWNER] == ask.owner then
        running[#running + 1] = tonumber(number)
      end
      event[ATTEMPTS] = event[ATTEMPTS] + 1
    elseif state == 'ready' then
      unready(number, event[KIND])
    elseif state == 'blocked' then
      call('ZREM', P .. 'l:' .. name, number)
    elseif state == 'waiting' then
      call('ZREM', P .. 'waiting', number)
      call('SREM', P .. 'a:' .. name, number)
    elseif state == 'parked' then
      unpark(number, event)
    end
    finish(number, event)
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
      call('HSET', P .. 'x:' .. number, 'teller', owner)
      found[#found + 1] = details(number)
      bytes = bytes + call('STRLEN', P .. 'b:' .. number)
    end
  end
  return found
end
