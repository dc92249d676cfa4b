-- NTS-KE (RFC 8915, section 4) for tshark: Wireshark has its own dissector from 4.2 on, Debian 12 has 4.0.
-- Decodes records under the ALPN name ntske/1; whatever breaks the format gets an expert error.
local proto = Proto("ntske", "Network Time Security Key Establishment")

local names = {
  [0] = "End of Message", [1] = "Next Protocol Negotiation", [2] = "Error", [3] = "Warning",
  [4] = "AEAD Algorithm Negotiation", [5] = "New Cookie", [6] = "Server Negotiation", [7] = "Port Negotiation",
  [1024] = "Compliant AES-128-GCM-SIV Exporter Context",
}
-- The body's length where the record's type fixes it.
local lengths = { [0] = 0, [2] = 2, [3] = 2, [7] = 2, [1024] = 0 }
local lists = { [1] = true, [2] = true, [3] = true, [4] = true, [7] = true }

local f = proto.fields
f.critical = ProtoField.bool("ntske.critical", "Critical", 16, nil, 0x8000)
f.type = ProtoField.uint16("ntske.type", "Type", base.DEC, names, 0x7fff)
f.length = ProtoField.uint16("ntske.length", "Body length")
f.value = ProtoField.uint16("ntske.value", "Value")
f.cookie = ProtoField.bytes("ntske.cookie", "Cookie")
f.body = ProtoField.bytes("ntske.body", "Body")

local malformed = ProtoExpert.new("ntske.malformed", "Malformed NTS-KE", expert.group.MALFORMED, expert.severity.ERROR)
proto.experts = { malformed }

local function record(buffer, offset, tree)
  local kind, length = buffer(offset, 2):uint() % 0x8000, buffer(offset + 2, 2):uint()
  if offset + 4 + length > buffer:len() then
    tree:add_proto_expert_info(malformed, "record longer than the message")
    return buffer:len(), kind
  end
  local node = tree:add(proto, buffer(offset, 4 + length), "Record: " .. (names[kind] or "unknown"))
  node:add(f.critical, buffer(offset, 2))
  node:add(f.type, buffer(offset, 2))
  node:add(f.length, buffer(offset + 2, 2))
  if (lengths[kind] and lengths[kind] ~= length) or (lists[kind] and length % 2 == 1) or (kind == 5 and length == 0) then
    node:add_proto_expert_info(malformed, "wrong body length")
  elseif lists[kind] then
    for at = 0, length - 2, 2 do node:add(f.value, buffer(offset + 4 + at, 2)) end
  elseif length > 0 then
    node:add(kind == 5 and f.cookie or f.body, buffer(offset + 4, length))
  end
  return offset + 4 + length, kind
end

function proto.dissector(buffer, packet, root)
  packet.cols.protocol = "NTS-KE"
  local tree = root:add(proto, buffer())
  local offset, kind = 0, nil
  while offset + 4 <= buffer:len() and kind ~= 0 do offset, kind = record(buffer, offset, tree) end
  if kind ~= 0 then tree:add_proto_expert_info(malformed, "no End of Message") end
  if offset ~= buffer:len() then tree:add_proto_expert_info(malformed, "octets behind End of Message") end
end

DissectorTable.get("tls.alpn"):add("ntske/1", proto)
