--[[
  The gateway's work done by nginx: find the account, reserve before a request is forwarded, commit
  after its answer, say in the answer how the account stands, count and measure.

  `words` is written by the benchmark: keys[API key] = {account, shown, [size of the body] = {
  reserve, commit, id_length}}, where both calls are {words, gaps[place] = {before the id, after}};
  and fields, those of the RateLimit header: {name, number of the counter, its limit, when it starts
  anew in seconds}, and that of the rate limit: {name, nil, its limit, its span in seconds}.
]]
local present, redis = pcall(require, "nginx.redis")
if not present then redis = require "resty.redis" end
local words = require "words"
local ffi = require "ffi"

local M = {}
local port, metrics
local count = 0
local policy = {}
local DOUBLES, COUNTER = ffi.typeof("const double *"), 56
local BOUNDS = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

function M.init(redis_port)
  port = redis_port
  metrics = ngx.shared.metrics
  for _, field in ipairs(words.fields) do
    local name, number, limit, span_s = unpack(field)
    policy[#policy + 1] = string.format('"%s";q=%.0f%s', name, limit,
      number and ';qu="content-bytes"' or ';w=' .. span_s)
  end
  policy = table.concat(policy, ", ")
end

local function ask(call, id)
  local said = {unpack(call.words)}
  for place, around in pairs(call.gaps) do said[place] = around[1] .. id .. around[2] end
  local client = redis:new()
  client:set_timeout(5000)
  local connected, failure = client:connect("127.0.0.1", port)
  if not connected then return nil, failure end
  local reply, refusal = client:evalsha(unpack(said))
  if reply then client:set_keepalive(60000, 256) end
  return reply, refusal
end

local function new_id(length)
  count = count + 1
  local id = string.format("%x-%x", ngx.worker.pid(), count)
  return string.rep("0", length - #id) .. id
end

function M.reserve()
  local known = words.keys[ngx.var.http_x_api_key or ""]
  if not known then return ngx.exit(401) end
  local calls = known[tonumber(ngx.var.http_content_length)]
  if not calls then return ngx.exit(411) end
  local id = new_id(calls.id_length)
  local reply, failure = ask(calls.reserve, id)
  if not reply then
    ngx.log(ngx.ERR, "reserve: ", failure)
    return ngx.exit(503)
  end
  local var, context = ngx.var, ngx.ctx
  var.quota_account, var.quota_key, var.quota_id = known.account, known.shown, id
  var.quota_outcome = reply[1]
  if reply[1] ~= "granted" then
    ngx.log(ngx.ERR, "reserve: ", reply[1], " ", reply[2])
    return ngx.exit(403)
  end
  context.calls, context.id, context.reply = calls, id, reply
end

-- How the account stands, out of the reply: its counters, which no other word is as long as, begin
-- with what is used and what is reserved, as doubles.
local function standing(reply)
  local counters, said = {}, {}
  for _, value in ipairs(reply) do
    if type(value) == "string" and #value >= COUNTER then
      local numbers = ffi.cast(DOUBLES, value)
      counters[#counters + 1] = numbers[0] + numbers[1]
    end
  end
  for i, field in ipairs(words.fields) do
    local name, number, limit, resets_at = unpack(field)
    if not number then
      said[i] = string.format('"%s";r=%d;t=%d', name, reply[4], math.ceil(reply[5] / 1000))
    elseif resets_at then
      said[i] = string.format('"%s";r=%.0f;t=%d', name, limit - counters[number],
        math.ceil(resets_at - ngx.now()))
    else
      said[i] = string.format('"%s";r=%.0f', name, limit - counters[number])
    end
  end
  return table.concat(said, ", ")
end

function M.answer()
  local header, reply = ngx.header, ngx.ctx.reply
  header["X-Request-Id"] = ngx.var.request_id
  header["Via"] = "1.1 nginx"
  if reply then
    header["RateLimit-Policy"] = policy
    header["RateLimit"] = standing(reply)
  end
end

local function commit(premature, calls, id)
  local reply, failure = ask(calls.commit, id)
  if not reply or reply[1] ~= "settled" then
    ngx.log(ngx.ERR, "commit: ", failure or reply[1])
  end
end

local function measure()
  local var = ngx.var
  local took_s = tonumber(var.request_time) or 0
  local bucket = "+Inf"
  for _, bound in ipairs(BOUNDS) do
    if took_s <= bound then
      bucket = bound
      break
    end
  end
  metrics:incr("requests:upload:" .. var.request_method .. ":" .. var.status, 1, 0)
  metrics:incr("seconds:upload:" .. bucket, 1, 0)
  metrics:incr("seconds_sum:upload", took_s, 0)
  metrics:incr("body_bytes:upload", tonumber(var.http_content_length) or 0, 0)
  metrics:incr("answer_bytes:upload", tonumber(var.body_bytes_sent) or 0, 0)
end

function M.commit()
  local context = ngx.ctx
  if context.calls then
    local started, failure = ngx.timer.at(0, commit, context.calls, context.id)
    if not started then ngx.log(ngx.ERR, "commit: ", failure) end
  end
  measure()
end

return M
