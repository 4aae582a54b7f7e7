-- What an answer becomes after it was turned into JSON: its HTTP status, the ids of server-sent events, and a failure that
-- becomes one of them.

-- Statuses that a service may ask for with x-http-status; anything else is ignored. A success can't become an error this
-- way, nor an error a success.
local SUCCESSES = {["200"] = true, ["201"] = true, ["202"] = true, ["204"] = true, ["304"] = true}
local FAILURES = {
  ["400"] = true, ["401"] = true, ["402"] = true, ["403"] = true, ["404"] = true, ["408"] = true, ["409"] = true, ["410"] = true,
  ["412"] = true, ["413"] = true, ["415"] = true, ["416"] = true, ["422"] = true, ["423"] = true, ["424"] = true,
  ["428"] = true, ["429"] = true, ["499"] = true, ["500"] = true, ["501"] = true, ["502"] = true, ["503"] = true,
  ["504"] = true,
}

-- A gRPC library answers by itself when a deadline passes or a server goes away, without details: what that is called.
local UNNAMED = {
  ["429"] = "OVERLOADED", ["499"] = "CANCELLED", ["500"] = "EDGE_INTERNAL", ["503"] = "EDGE_UNAVAILABLE",
  ["504"] = "EDGE_TIMEOUT",
}
local NO_DETAILS = '"details":[]'
local DETAILS = '"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"tillmesh","metadata":{},"reason":"%s"}]'

local function starts_with(text, prefix)
  return text ~= nil and string.sub(text, 1, #prefix) == prefix
end

local function apply_status(reply)
  local headers = reply:headers()
  local wanted = headers:get("x-http-status")
  headers:remove("x-http-status")
  if wanted == nil then
    return
  end
  local failed = tonumber(headers:get(":status")) >= 400
  if not (failed and FAILURES or SUCCESSES)[wanted] then
    return
  end
  headers:replace(":status", wanted)
  if wanted == "304" or wanted == "204" then
    headers:remove("content-type")
    local body = reply:body()
    if body ~= nil then
      body:setBytes("")
    end
    reply:headers():remove("content-length") -- fetched again: body() ends the life of the first handle
  end
end

-- Server-sent events ---------------------------------------------------------------------------------------------------
-- A frame arrives as one line, `data: {"resume_token":"<token>",…}`, and leaves with `id: <token>` before it, so that a
-- browser which reconnects sends Last-Event-ID by itself. A line may be cut anywhere by the network: what could still
-- become a token is held back until it is one, or is not.
local FRAME_START = 'data: {"resume_token":"'
local TOKEN_LENGTH_MAX = 2048
local RETRY = "retry: 1000\n\n" -- milliseconds until a browser tries again

-- Looks at the start of a line. Returns "id" and the token, "wait" if more bytes are needed to know, or "other".
local function read_line_start(text, from)
  local available = #text - from + 1
  if available < #FRAME_START then
    local may_become = string.sub(text, from) == string.sub(FRAME_START, 1, available)
    return may_become and "wait" or "other"
  end
  if string.sub(text, from, from + #FRAME_START - 1) ~= FRAME_START then
    return "other"
  end
  local token_from = from + #FRAME_START
  local token_end = string.find(text, '"', token_from, true)
  if token_end == nil then
    return #text - token_from < TOKEN_LENGTH_MAX and "wait" or "other"
  end
  local token = string.sub(text, token_from, token_end - 1)
  if string.find(token, "^[%w%-_=%+/%.:~]+$") then
    return "id", token
  end
  return "other"
end

-- Gives `text` its ids. `at_line_start` says where the text before it ended. Returns what can leave now, what must wait,
-- and where the leaving part ends.
local function add_ids(text, at_line_start)
  local out, position = {}, 1
  while position <= #text do
    if at_line_start then
      local kind, token = read_line_start(text, position)
      if kind == "wait" then
        return table.concat(out), string.sub(text, position), true
      elseif kind == "id" then
        out[#out + 1] = "id: " .. token .. "\n"
      end
    end
    local newline = string.find(text, "\n", position, true)
    out[#out + 1] = string.sub(text, position, newline or #text)
    at_line_start = newline ~= nil
    position = (newline or #text) + 1
  end
  return table.concat(out), "", at_line_start
end

-- Gives an error without details its reason. Only the few statuses above are looked into.
local function name_failure(reply)
  local reason = UNNAMED[reply:headers():get(":status")]
  local body = reason ~= nil and reply:body() or nil
  if body == nil or body:length() == 0 then
    return
  end
  local text = body:getBytes(0, body:length())
  local from, to = string.find(text, NO_DETAILS, 1, true)
  if from == nil then
    return
  end
  local named = string.sub(text, 1, from - 1) .. string.format(DETAILS, reason) .. string.sub(text, to + 1)
  body:setBytes(named)
  reply:headers():replace("content-length", tostring(#named)) -- fetched again: body() ends the life of the first handle
end

local function stream_events(reply)
  local headers = reply:headers()
  headers:replace("cache-control", "no-store")
  headers:replace("x-accel-buffering", "no") -- asks proxies in front of us not to hold events back
  local held, at_line_start, prelude = "", true, RETRY
  for chunk in reply:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      local ready
      ready, held, at_line_start = add_ids(held .. chunk:getBytes(0, length), at_line_start)
      chunk:setBytes(prelude .. ready)
      prelude = ""
    end
  end
end

-- Failures that pass by themselves. A browser's EventSource gives up for good at anything but 200, so whoever asked for
-- events is told of them in a frame (the contract's `ended`), and comes again. Such a frame has no id: the browser keeps
-- its last.
local PASSING = {["429"] = true, ["502"] = true, ["503"] = true, ["504"] = true}

local function asked_for_events(reply)
  local marks = reply:streamInfo():dynamicMetadata():get("tillmesh.door")
  return marks ~= nil and marks["events"] == true
end

local function fail_in_a_frame(reply)
  local headers = reply:headers()
  local seconds = tonumber(headers:get("retry-after") or "") or 1
  headers:replace(":status", "200")
  headers:replace("content-type", "text/event-stream")
  headers:replace("cache-control", "no-store")
  local body = reply:body(true)
  local status = string.gsub(body:getBytes(0, body:length()), "[\r\n]", "") -- those of its layout; in a text they are \n
  body:setBytes("retry: " .. seconds * 1000 .. '\n\ndata: {"resume_token":"","ended":{"status":' .. status .. "}}\n\n")
  reply:headers():remove("content-length") -- fetched again: body() ends the life of the first handle
end

function envoy_on_response(reply)
  local headers = reply:headers()
  local content_type = headers:get("content-type")
  if starts_with(content_type, "application/grpc") then
    return -- native gRPC and gRPC-Web keep what the service said
  end
  if starts_with(content_type, "text/plain") and headers:get("grpc-status-details-bin") ~= nil then
    return -- Envoy's own answer to gRPC-Web, which the filter above turns into what such a caller reads
  end
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-accept-encoding")
  if starts_with(content_type, "text/event-stream") then
    headers:remove("x-http-status")
    stream_events(reply)
  else
    apply_status(reply)
    if starts_with(reply:headers():get("content-type"), "application/json") then
      name_failure(reply)
    end
    if PASSING[reply:headers():get(":status")] and asked_for_events(reply) then
      fail_in_a_frame(reply)
    end
  end
end
