local replies, errors = {}, {}
for at, step in ipairs(asked) do
  local ok, reply = pcall(steps[step[1]], unpack(step, 2))
  replies[at] = ok and reply or false
  if not ok then
    errors[#errors + 1] = {at - 1, type(reply) == 'table' and reply.err or tostring(reply)}
  end
end

write()
local MOST_TICKETS = 1000 -- of a type: whoever comes later looks without one
for kind, many in pairs(tickets) do
  many = math.min(many, call('ZCARD', P .. 'r:' .. kind), 100)
  if many > 0 then
    local copies = {}
    for at = 1, many do
      copies[at] = ''
    end
    if call('RPUSH', P .. 't:' .. kind, unpack(copies)) > MOST_TICKETS then
      call('LTRIM', P .. 't:' .. kind, 0, MOST_TICKETS - 1)
    end
    if call('SADD', P .. 'types', kind) == 1 then
      call('HINCRBY', KEYS[1], 'types', 1)
    end
  end
end
return cmsgpack.pack({replies, errors, readied})
