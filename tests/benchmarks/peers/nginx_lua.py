"""nginx with Lua that does the gateway's work: the key, the same two calls of Redis, equal fields
in both directions, counters and a histogram in shared memory, and an access log."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.machine import lua_modules
from tests.benchmarks.overheard import Overheard, Template
from tests.benchmarks.peers import nginx
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.processes import Pinned
from tests.benchmarks.site import Site

HERE = Path(__file__).parent
LIBRARIES = "/usr/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?.lua"
CLIENTS = ("nginx/redis.lua", "resty/redis.lua")
"""lua-nginx-redis of Debian is lua-resty-redis by another name."""

HTTP = """
    log_format access escape=json '{{"at":"$time_iso8601","kind":"access",'
        '"request_id":"$request_id","method":"$request_method","path":"$uri","route":"upload",'
        '"status":$status,"outcome":"$quota_outcome","duration_ms":$request_time,'
        '"account":"$quota_account","key":"$quota_key","plan":"bench","reservation":"$quota_id",'
        '"body_bytes":$content_length,"answer_bytes":$body_bytes_sent,"peer":"$remote_addr"}}';
    access_log access.log access buffer=64k flush=1s;
    lua_package_path "{here}/?.lua;{words}/?.lua;{libraries};;";
    lua_shared_dict metrics 1m;
    lua_max_pending_timers 65536;
    lua_max_running_timers 8192;
    lua_socket_pool_size 256;
    init_by_lua_block {{
        require "resty.core"
        quota = require "quota"
        quota.init({redis_port})
    }}
"""

LOCATION = """
            set $quota_account "";
            set $quota_key "";
            set $quota_id "";
            set $quota_outcome "";
            access_by_lua_block { quota.reserve() }
            header_filter_by_lua_block { quota.answer() }
            log_by_lua_block { quota.commit() }
            proxy_set_header X-API-Key "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header Forwarded "for=$remote_addr;proto=$scheme;host=$host";
            proxy_set_header Via "1.1 nginx";
            proxy_set_header X-Request-Id $request_id;
            proxy_hide_header X-Request-Id;
"""


def launch(site: Site, more: str = "") -> Pinned:
    modules = lua_modules()
    assert modules is not None
    assert site.words is not None
    http = HTTP.format(
        here=HERE, words=site.words.parent, libraries=LIBRARIES, redis_port=site.redis_port
    )
    return nginx.launch(site, modules=modules, http=http, location=LOCATION + more)


def missing() -> str | None:
    if (no_nginx := nginx.missing()) is not None:
        return no_nginx
    if lua_modules() is None:
        return "nginx's Lua module (libnginx-mod-http-lua)"
    places = [Path(pattern.removesuffix("?.lua")) for pattern in LIBRARIES.split(";")]
    if not any((place / client).is_file() for place in places for client in CLIENTS):
        return "a Redis client for nginx's Lua (lua-nginx-redis)"
    return None


NGINX_LUA = Peer("nginx+lua", missing, launch, nginx.version, ledger=True, taught=True)
TUNED_NGINX_LUA = replace(
    NGINX_LUA, name="nginx-tuned+lua", launch=lambda site: launch(site, nginx.TUNED)
)


# -- what the Lua is given to send ----------------------------------------------------------------


def words_of(key: str, account: str, shown: str, calls: Mapping[int, Overheard]) -> str:
    """One account in Lua: by the size of the body what is sent, and where the id goes."""
    sizes = [
        f"[{size}] = {{reserve = {_template(c.reserve)}, commit = {_template(c.commit)},"
        f" id_length = {c.id_length}}}"
        for size, c in calls.items()
    ]
    fields = [f"account = {quoted(account)}", f"shown = {quoted(shown)}", *sizes]
    return f"[{quoted(key)}] = {{{', '.join(fields)}}}"


def words_file(entries: Iterable[str], fields: Iterable[str]) -> str:
    """`fields` are of the RateLimit header, see `quota.lua`. Each account has a function of its
    own: one may hold only so many constants."""
    lines = ["local keys = {}", "local function add(t) for k, v in pairs(t) do keys[k] = v end end"]
    lines += [f"(function() add({{{entry}}}) end)()" for entry in entries]
    lines.append(f"return {{keys = keys, fields = {{{', '.join(fields)}}}}}")
    return ";\n".join(lines) + "\n"


def quoted(text: str | bytes) -> str:
    """A string of Lua; anything but plain characters by its number."""
    data = text.encode() if isinstance(text, str) else text
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-:;/.,{}()=%@"
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03d}" for b in data) + '"'


def _template(template: Template) -> str:
    """The words after the command's name, and by its place what surrounds each id."""
    words, gaps = [], []
    for place, (head, tail) in enumerate(template.words[1:], 1):
        words.append(quoted(head))
        if tail is not None:
            gaps.append(f"[{place}] = {{{quoted(head)}, {quoted(tail)}}}")
    return f"{{words = {{{', '.join(words)}}}, gaps = {{{', '.join(gaps)}}}}}"
