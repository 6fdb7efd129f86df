"""Secrets in every shape in which one might reach a log. Each holds its own marker."""

from dataclasses import dataclass

MARK = "C4n4ryS3cr3t"
API_KEY = "qg_" + "C4n4ryS3cr3t" * 3 + "00"


@dataclass(frozen=True)
class Canary:
    name: str
    text: str


CANARIES = (
    Canary("API key", f"account of {API_KEY} not found"),
    Canary("API key in a path", f"/files/{API_KEY}/a"),
    Canary("API key, percent-encoded", f"GET /x?k=qg%5F{MARK * 3}"),
    Canary("API key in a tuple", f"({API_KEY!r},)"),
    Canary("API key in bytes", f"{API_KEY.encode()!r}"),
    Canary("bearer", f"Bearer {MARK}"),
    Canary("bearer, small", f"authorization is bearer {MARK}.{MARK}"),
    Canary("basic", f"Basic {MARK}=="),
    Canary("header line", f"Authorization: Digest user, {MARK}"),
    Canary("header pair of bytes", f"[(b'Authorization', b'Digest {MARK}'), (b'Host', b'a')]"),
    Canary("header pair of text", f"('x-api-key', 'sk_live_{MARK}')"),
    Canary("headers as a dict", f"{{'X-Auth-Key': '{MARK}', 'Host': 'a'}}"),
    Canary("headers as JSON", f'{{"authorization": "{MARK} {MARK}"}}'),
    Canary("headers as JSON in JSON", f'{{\\"authorization\\": \\"{MARK}\\"}}'),
    Canary("cookie", f"Cookie: a=b; session={MARK}"),
    Canary("redis URL", f"cannot connect to redis://:{MARK}@localhost:6379/0"),
    Canary("redis URL with a user", f"rediss://gateway:{MARK}@redis.example:6380"),
    Canary("redis URL with an odd password", f"redis://u:a@b/{MARK}?#@h:1"),
    Canary("cluster URL", f"redis+cluster://:{MARK}@h:1"),
    Canary("redis AUTH", f"Command # 1 (AUTH {MARK}) of pipeline caused error"),
    Canary("redis AUTH with a user", f"AUTH gateway {MARK}"),
    Canary("password=", f"Connection<host=localhost,password={MARK},db=0>"),
    Canary("password in a repr", f"{{'password': '{MARK}', 'db': 0}}"),
    Canary("SigV4 header", "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu/s3/aws4_request,"
           f" SignedHeaders=host, Signature={MARK}"),
    Canary("presigned URL", f"https://h/b/k?X-Amz-Date=1&X-Amz-Signature={MARK}&X-Amz-Expires=9"),
    Canary("AWS session token", f"X-Amz-Security-Token={MARK}"),
    Canary("AWS secret", f"aws_secret_access_key = {MARK}"),
    Canary("token=", f"admin_token: {MARK}"),
    Canary("query token", f"/stream?token={MARK}&x=1"),
)  # fmt: skip
