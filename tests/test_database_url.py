"""DATABASE_URL: which database it names, and what is said where it names none."""

import pytest

from schedmgr import database_url
from schedmgr.database_url import DatabaseURLError, Host, Servers, SQLiteFile


def servers(url: str) -> Servers:
    found = database_url.parse(url)
    assert isinstance(found, Servers)
    return found


def test_a_path_names_a_file():
    assert database_url.parse("sqlite:///schedmgr.db") == SQLiteFile("schedmgr.db")
    assert database_url.parse("sqlite:////var/lib/schedmgr/s.db") == SQLiteFile("/var/lib/schedmgr/s.db")


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"])
def test_mysql_and_mariadb_are_named_alike(scheme):
    assert servers(f"{scheme}://ann:secret@db:3307/app") == Servers(
        hosts=(Host("db", 3307),), user="ann", password="secret", database="app", options={}
    )


@pytest.mark.parametrize(
    ("hosts", "meant"),
    [
        ("db", [Host("db", 3306)]),
        ("db-1.example.com:3307", [Host("db-1.example.com", 3307)]),
        ("a:3306,b:3307,c", [Host("a", 3306), Host("b", 3307), Host("c", 3306)]),
        ("192.0.2.7", [Host("192.0.2.7", 3306)]),
        ("[2001:db8::7]:3307", [Host("2001:db8::7", 3307)]),
        ("[::1],b", [Host("::1", 3306), Host("b", 3306)]),
        ("", [Host("localhost", 3306)]),
    ],
)
def test_hosts_are_tried_in_the_order_in_which_they_are_written(hosts, meant):
    assert list(servers(f"mysql://ann:secret@{hosts}/app").hosts) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("secret", "secret"),
        ("p@ss:w@rd", "p@ss:w@rd"),
        ("a%2Fb%3Fc%23d%25", "a/b?c#d%"),
        ("%F0%9F%94%91", "\N{KEY}"),
        ("a+b", "a+b"),
        ("a b", "a b"),
        ("", ""),
    ],
)
def test_a_password_is_what_stands_before_the_last_at(written, meant):
    assert servers(f"mysql://ann:{written}@db/app").password == meant


def test_without_a_user_and_a_password_there_is_none():
    found = servers("mysql://db/app")
    assert (found.user, found.password) == ("", "")
    assert servers("mysql://ann@db/app").password == ""


def test_user_and_database_may_be_escaped():
    found = servers("mysql://ann%40example.com:x@db/my%20app")
    assert (found.user, found.database) == ("ann@example.com", "my app")


def test_options_stand_behind_the_database():
    url = "mysql://ann:x@db/app?ssl_ca=/etc/ssl/ca.pem&unix_socket=/run/mysqld/mysqld.sock&ssl=true"
    assert servers(url).options == {
        "ssl_ca": "/etc/ssl/ca.pem",
        "unix_socket": "/run/mysqld/mysqld.sock",
        "ssl": "true",
    }


def test_a_password_is_never_part_of_what_is_printed():
    assert "s3cret" not in repr(servers("mysql://ann:s3cret@db/app"))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://ann:x@db/app", "Allowed are sqlite:///PATH, such as"),
        ("schedmgr.db", "Allowed are sqlite:///PATH, such as"),
        ("MYSQL://ann:x@db/app", "Allowed are sqlite:///PATH, such as"),
        ("mysql+asyncmy://ann:x@db/app", "Allowed is mysql://USER:PASSWORD@HOST:3306/DATABASE, or with several"),
        ("mysql://ann:x@db", "Allowed is mysql://USER:PASSWORD@HOST:3306/DATABASE, or with several hosts"),
        ("mysql://ann:x@db/", "Allowed is mysql://USER:PASSWORD@HOST:3306/DATABASE, or with several hosts"),
        ("mysql://ann:x@db/app/other", "Allowed is mysql://USER:PASSWORD@HOST:3306/DATABASE, or with several"),
        ("mysql://ann:x@a,,b/app", "'' is no host. Write HOST or HOST:PORT, and a comma between several."),
        ("mysql://ann:x@d b/app", "'d b' is no host. Write HOST or HOST:PORT, and a comma between several."),
        ("mysql://ann:x@db:0/app", "'db:0' is no host. Write HOST or HOST:PORT, and a comma between several."),
        ("mysql://ann:x@db:65536/app", "'db:65536' is no host. Write HOST or HOST:PORT, and a comma between several."),
        ("mysql://ann:x@db:٣٣٠٦/app", "What stands after 'db:' is no port. Write HOST or HOST:PORT"),
        ("mysql://ann:x@db:abc/app", "What stands after 'db:' is no port. Write HOST or HOST:PORT"),
        ("mysql://ann:x@::1/app", "'' is no host. Write HOST or HOST:PORT, and a comma between several."),
        (
            "mysql://ann:x@db/app?ssl_cert=a.pem",
            "The option 'ssl_cert' is not known. Known are ssl, ssl_ca, unix_socket.",
        ),
        ("mysql://ann:x@db/app?ssl=yes", "The option ssl is true or false."),
    ],
)
def test_a_url_that_names_no_database_is_one_sentence_with_what_is_allowed(url, sentence):
    with pytest.raises(DatabaseURLError) as caught:
        database_url.parse(url)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://ann:s3cret/app", "mysql://ann:s3cret@db:x/app", "mysql://ann:s3cret@/"])
def test_no_sentence_about_a_url_shows_its_password(url):
    with pytest.raises(DatabaseURLError) as caught:
        database_url.parse(url)
    assert "s3cret" not in str(caught.value)
