-- What a request must be before any rule looks at it: no token in its path, and a hint of its location.
-- Removing what only we may set (x-tillmesh-*) is done natively and earlier, see http.yaml.

-- The longest value that can be an id or a code of a location.
local LOCATION_LENGTH_MAX = 64

-- Takes every access_token out of a query. Returns the path that is left, and the first token.
local function without_token(path)
  local mark = string.find(path, "?", 1, true)
  if mark == nil or string.find(path, "access_token", mark, true) == nil then
    return path, nil
  end
  local kept, token = {}, nil
  for pair in string.gmatch(string.sub(path, mark + 1), "[^&]+") do
    local value = string.match(pair, "^access_token=?(.*)$")
    if value == nil then
      kept[#kept + 1] = pair
    elseif token == nil then
      token = value
    end
  end
  local rest = string.sub(path, 1, mark - 1)
  if #kept > 0 then
    rest = rest .. "?" .. table.concat(kept, "&")
  end
  return rest, token
end

-- EventSource can't set headers, so a watch may bring its token in the query; anything else must use the header.
-- The token leaves the path in either case: paths are logged, traced and passed on.
local function move_token(request, is_watch)
  local headers = request:headers()
  local path, token = without_token(headers:get(":path"))
  if token == nil then
    return
  end
  headers:replace(":path", path)
  if is_watch and headers:get("authorization") == nil and string.find(token, "^[%w%-_%.]+$") then
    headers:replace("authorization", "Bearer " .. token)
  end
end

-- Calls about one location prefer one process (the header is hashed, see service.yaml). Only speed depends on it.
local function hint_location(request)
  local headers = request:headers()
  local location = string.match(headers:get(":path"), "^/v1/locations/([^/?]+)")
  if location ~= nil and #location <= LOCATION_LENGTH_MAX and string.find(location, "^[%w%-_%.]+$") then
    headers:replace("x-tillmesh-location", location)
  end
end

function envoy_on_request(request)
  local route = request:metadata()
  local streams = route:get("streams") == true
  if route:get("events") == true then
    -- For lua/reply.lua, which sees the route of the rpc instead.
    request:streamInfo():dynamicMetadata():set("tillmesh.door", "events", true)
  end
  move_token(request, route:get("watch") == true)
  hint_location(request)
  if streams then
    request:headers():remove("accept-encoding") -- a compressor's window for each of 10,000 tills is a gigabyte
  end
end
