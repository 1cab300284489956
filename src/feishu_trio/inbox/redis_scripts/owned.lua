-- A claim, as it is packed: its token, whether it was only gathered, and its owner; then the event, as it was before. As a list
-- it is that of the event, with:
local OWNER, GATHERED = 9, 10

local function pack_claim(token, is_gathered, owner)
  return struct.pack('>dBI4c0', token, is_gathered and 1 or 0, #owner, owner)
end

local function read_claim(packed)
  local token, is_gathered, owner, at = struct.unpack('>dBI4c0', packed)
  local claim = read(packed, at)
  claim[TOKEN], claim[OWNER], claim[GATHERED] = token, owner, is_gathered == 1
  return claim
end

local claims -- number -> claim, of all that the steps of this call speak of; false if nobody has claimed it

-- The claim of an event. Those of all steps are read as one; what other steps begin with is no number of any.
local function claim_of(number)
  if not claims then
    claims = {}
    local numbers = {}
    for _, step in ipairs(asked) do
      if type(step[2]) == 'string' then
        numbers[#numbers + 1] = step[2]
      end
    end
    if #numbers > 0 then
      for at, packed in ipairs(call('HMGET', P .. 'running', unpack(numbers))) do
        claims[numbers[at]] = packed and read_claim(packed)
      end
    end
  end
  if claims[number] == nil then
    local packed = call('HGET', P .. 'running', number)
    claims[number] = packed and read_claim(packed)
  end
  return claims[number]
end

-- Keep that a claim has changed.
local function keep(number, claim)
  call('HSET', P .. 'running', number, pack_claim(claim[TOKEN], claim[GATHERED], claim[OWNER]) .. pack(claim))
end

-- The claim that settled an event last.
local function settled_by(number)
  write()
  local event = event_of(number)
  return event and event[TOKEN]
end

-- The claim, if this is the current one. If not, nothing, and whether the event was settled by this very one: a step may
-- come twice, as its first reply was lost.
local function owned(number, token)
  local claim = claim_of(number)
  if claim and claim[TOKEN] == token then
    return claim
  end
  return nil, not claim and settled_by(number) == token
end

-- There are results, or notes, of an event that is claimed.
local function has_parts(number, claim)
  if not claim[MORE] then
    claim[MORE] = true
    keep(number, claim)
    local event = event_of(number)
    event[MORE] = true
    save(number, event)
  end
end
