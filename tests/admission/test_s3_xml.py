"""XML of requests is read strictly, that of answers as the upstream's word."""

import pytest

from gateway.admission import s3_xml
from gateway.admission.s3_xml import Deletion, Ending, Named
from gateway.errors import BAD_XML
from tests.admission.asks import error

NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
DECLARED = '<?xml version="1.0" encoding="UTF-8"?>\n'


def parts(*elements: str, declared: str = DECLARED) -> bytes:
    body = "".join(elements)
    text = f"{declared}<CompleteMultipartUpload {NS}>{body}</CompleteMultipartUpload>"
    return text.encode()


def part(number: object) -> str:
    return f'<Part><ETag>"e"</ETag><PartNumber>{number}</PartNumber></Part>'


def delete(*elements: str) -> bytes:
    return f"{DECLARED}<Delete {NS}>{''.join(elements)}</Delete>".encode()


def one(key: str, *more: str) -> str:
    return f"<Object><Key>{key}</Key>{''.join(more)}</Object>"


def test_the_parts_of_an_object() -> None:
    assert s3_xml.listed_parts(parts(part(1), part(2), part(10_000))) == (1, 2, 10_000)
    assert s3_xml.listed_parts(parts(part(" 3 "), declared="")) == (3,)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        parts(),
        parts(part(0)),
        parts(part(10_001)),
        parts(part("")),
        parts(part("1e3")),
        parts(part("\u0661")),
        parts(part(1), part(1)),
        parts("<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber></Part>"),
        parts("<Other/>"),
        parts(part(1), "<!-- a comment -->"),
        parts("<Part><PartNumber><![CDATA[1]]></PartNumber></Part>"),
        parts(part("1<?go on?>")),
        parts(part(1))[:-5],
        parts(part(1), declared='<?xml version="1.0" encoding="UTF-16"?>'),
        b"<!DOCTYPE d [<!ENTITY e '1'>]>" + parts(part("&e;"), declared=""),
        b"<a>" * 50,
        b"<Delete></Delete>",
        b" \n" + parts(part(1)),
    ],
)
def test_parts_that_have_more_than_one_reading_or_none(body: bytes) -> None:
    """failure row 63 (XML)"""
    assert error(s3_xml.listed_parts(body)) == BAD_XML


def test_what_is_to_be_deleted() -> None:
    assert s3_xml.deletion(delete(one("a &amp; b"), one("c", "<VersionId>v</VersionId>"))) == (
        Deletion((Named("a & b"), Named("c", "v")))
    )
    quiet = s3_xml.deletion(delete("<Quiet>true</Quiet>", one("a", "<VersionId/>")))
    assert quiet == Deletion((Named("a"),), quiet=True)
    loud = s3_xml.deletion(delete(one("a"), "<Quiet>False</Quiet>"))
    assert loud == Deletion((Named("a"),))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        delete(),
        delete(one("")),
        delete("<Object/>"),
        delete("<Object><Key>a</Key><Key>b</Key></Object>"),
        delete("<Object><Key>a<b/></Key></Object>"),
        delete(one("a", "<VersionId>1</VersionId><VersionId>2</VersionId>")),
        delete(one("a"), "<Quiet>true</Quiet><Quiet>false</Quiet>"),
        delete(one("a"), "<More/>"),
        delete(*[one("a")] * 1_001),
        parts(part(1)),
    ],
)
def test_deletions_that_have_more_than_one_reading_or_none(body: bytes) -> None:
    assert error(s3_xml.deletion(body)) == BAD_XML


def test_what_was_deleted_is_the_answers_word() -> None:
    asked = Deletion((Named("a"), Named("b"), Named("c", "v"), Named("d"), Named("e")))
    answer = (
        f"{DECLARED}<DeleteResult {NS}>"
        "<Deleted><Key>a</Key></Deleted>"
        "<Deleted><Key>c</Key><VersionId>v</VersionId></Deleted>"
        "<Deleted><Key>d</Key><DeleteMarker>true</DeleteMarker>"
        "<DeleteMarkerVersionId>m</DeleteMarkerVersionId></Deleted>"
        "<Deleted><Key>never asked</Key></Deleted>"
        "<Deleted><Key>e</Key><DeleteMarker>true</DeleteMarker>"
        "<DeleteMarkerVersionId>null</DeleteMarkerVersionId></Deleted>"
        "<Error><Key>b</Key><Code>AccessDenied</Code></Error>"
        "</DeleteResult>"
    ).encode()
    assert s3_xml.deleted(asked, answer) == (Named("a"), Named("c", "v"), Named("e"))
    quiet = Deletion(asked.objects, quiet=True)
    assert s3_xml.deleted(quiet, answer) == tuple(each for each in asked.objects if each.key != "b")
    for unreadable in (b"", b"<Error/>", answer[:-3]):
        assert s3_xml.deleted(quiet, unreadable) == ()


def test_the_name_of_an_upload() -> None:
    told = f"{DECLARED}<InitiateMultipartUploadResult {NS}><UploadId>U/1</UploadId></"
    assert s3_xml.upload_id(f"{told}InitiateMultipartUploadResult>".encode()) == "U/1"
    for other in (b"", b"<Error/>", b"<InitiateMultipartUploadResult/>"):
        assert s3_xml.upload_id(other) is None


def test_a_status_of_200_may_be_too_early() -> None:
    result = "CompleteMultipartUploadResult"
    assert s3_xml.ending(f"<{result} {NS}/>".encode(), result) is Ending.DONE
    assert s3_xml.ending(f"  \n {DECLARED} \n <{result}/>".encode(), result) is Ending.DONE
    failed = b"<Error><Code>InternalError</Code></Error>"
    assert s3_xml.ending(failed, result) is Ending.FAILED
    for unknown in (b"", b"<Other/>", failed[:-1]):
        assert s3_xml.ending(unknown, result) is Ending.UNKNOWN
    assert s3_xml.error_code(failed) == "InternalError"
    for other in (b"", b"<Other/>", b"<Error/>"):
        assert s3_xml.error_code(other) == ""


def test_what_keeps_a_client_waiting_says_nothing() -> None:
    for blank in (b"", b" ", b"\r\n\t ", DECLARED.encode(), b" " + DECLARED.encode() + b"  "):
        assert s3_xml.says_nothing(blank)
    for said in (b"<", b"<?xml", DECLARED.encode() + b"<E", b" x"):
        assert not s3_xml.says_nothing(said)
