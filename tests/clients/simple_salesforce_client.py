"""Drives a Salesforce org with simple-salesforce, which other people wrote, and prints as JSON what it saw.

    python simple_salesforce_client.py < settings.json

Settings: url (https), authority (file with the certificate to trust), session_id, client_id, private_key (PEM) and username
(for a signed assertion), admin (the sandbox's /_admin, to end sessions). What the answers must be is for the caller to judge.
"""

import json
import sys
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceError

VERSION = "66.0"
LOGIN_HOST = "https://login.salesforce.com"


class ToOrg(HTTPAdapter):
    """Sends what goes to the one login host that simple-salesforce knows to the org instead."""

    def __init__(self, url):
        self.url = url
        super().__init__()

    def send(self, request, **options):
        request.url = request.url.replace(LOGIN_HOST, self.url, 1)
        return super().send(request, **options)


def refusal(call):
    """What a call was refused with."""
    try:
        return {"answered": call()}
    except SalesforceAuthenticationFailed as error:
        return {"error": type(error).__name__, "content": str(error)}
    except SalesforceError as error:
        return {"error": type(error).__name__, "status": error.status, "content": error.content}


def session(settings):
    session = requests.Session()
    session.verify = settings["authority"]
    # The environment may name a proxy; an org on loopback is not behind one.
    session.trust_env = False
    session.mount(LOGIN_HOST, ToOrg(settings["url"]))
    return session


def queries(org):
    soql = "SELECT Id, Username, Profile.Name FROM User ORDER BY Id"
    headers = {"Sforce-Query-Options": "batchSize=200"}
    page = org.query(soql, headers=headers)
    total = page["totalSize"]
    pages = [len(page["records"])]
    ids = [record["Id"] for record in page["records"]]
    while not page["done"]:
        page = org.query_more(page["nextRecordsUrl"], identifier_is_url=True)
        pages.append(len(page["records"]))
        ids += [record["Id"] for record in page["records"]]
    return {
        "total": total,
        "pages": pages,
        "ids": ids,
        "by_iterator": sum(1 for _ in org.query_all_iter(soql, headers=headers)),
        "wrong": refusal(lambda: org.query("SELECT Bogus FROM User")),
        "quoted": org.query("SELECT Id FROM User WHERE LastName = 'O\\'Hara'")["totalSize"],
    }


def users(org, ids):
    profile = org.query("SELECT Id FROM Profile WHERE Name = 'Standard User'")["records"][0]["Id"]

    def user(name):
        return {
            "Username": name,
            "LastName": "Simple",
            "Email": name,
            "Alias": "simple",
            "ProfileId": profile,
            "TimeZoneSidKey": "Europe/Paris",
            "LocaleSidKey": "fr_FR",
            "LanguageLocaleKey": "fr",
            "EmailEncodingKey": "UTF-8",
        }

    created = org.User.create(user("one@simple.example"))
    rows = [{"attributes": {"type": "User"}, "id": each, "Title": "Changed by simple-salesforce"} for each in ids[:3]]
    rows.append({"attributes": {"type": "User"}, "id": created["id"], "Email": "no address"})
    key = "Partner_Id__c"
    many = {"records": [{"attributes": {"type": "User"}, key: "k1", "Title": "Changed again"}]}
    return {
        "created": created,
        "duplicate": refusal(lambda: org.User.create(user("ONE@simple.example"))),
        "unknown_field": refusal(lambda: org.User.update(created["id"], {"Bogus": "x"})),
        "changed": org.User.update(created["id"], {"Title": "Changed by simple-salesforce"}),
        "read": org.User.get(created["id"]),
        "upserted": [
            org.User.upsert(f"{key}/k1", user("two@simple.example")),
            org.User.upsert(f"{key}/k1", {"Title": "Changed by simple-salesforce"}),
        ],
        "by_key": org.User.get_by_custom_id(key, "k1")["Username"],
        "collection": org.restful("composite/sobjects", method="PATCH", json={"allOrNone": False, "records": rows}),
        "upserted_many": org.restful(f"composite/sobjects/User/{key}", method="PATCH", json=many),
        "stale": refusal(
            lambda: org.User.update(
                created["id"], {"Title": "Late"}, headers={"If-Unmodified-Since": "Thu, 01 Jan 2015 00:00:00 GMT"}
            )
        ),
        "undeletable": refusal(lambda: org.User.delete(created["id"])),
    }


def contacts(org):
    records = [{"attributes": {"type": "Contact"}, "LastName": f"L{n}", "Email": "c@simple.example"} for n in range(200)]
    created = org.restful("composite/sobjects", method="POST", json={"allOrNone": True, "records": records})
    ids = [result["id"] for result in created]
    deleted = org.Contact.delete(ids[0])
    return {
        "created": len(ids),
        "several": refusal(lambda: org.Contact.upsert("Email/c@simple.example", {"Title": "Which?"})),
        "deleted": deleted,
        "gone": refusal(lambda: org.Contact.get(ids[0])),
        "left": org.query("SELECT COUNT() FROM Contact")["totalSize"],
        "with_deleted": org.query_all("SELECT Id FROM Contact", include_deleted=True)["totalSize"],
    }


def sessions(settings, org):
    signed = Salesforce(
        username=settings["username"],
        consumer_key=settings["client_id"],
        privatekey=settings["private_key"],
        domain="login",
        version=VERSION,
        session=session(settings),
    )
    session(settings).post(f"{settings['admin']}/salesforce/expire-sessions").raise_for_status()
    return {
        "expired": refusal(lambda: org.query("SELECT Id FROM User LIMIT 1")),
        # This one knows how to log in again, and does.
        "replayed": len(signed.query("SELECT Id FROM User LIMIT 1")["records"]),
        "instance": signed.sf_instance == urlsplit(settings["url"]).netloc,
        "unapproved": refusal(
            lambda: Salesforce(
                username="nobody@simple.example",
                consumer_key=settings["client_id"],
                privatekey=settings["private_key"],
                domain="login",
                version=VERSION,
                session=session(settings),
            )
        ),
    }


def main():
    settings = json.load(sys.stdin)
    org = Salesforce(
        session_id=settings["session_id"],
        instance_url=settings["url"],
        version=VERSION,
        session=session(settings),
    )
    seen = {
        "objects": [each["name"] for each in org.describe()["sobjects"]],
        "fields": [field["name"] for field in org.Contact.describe()["fields"]],
        "queries": queries(org),
    }
    seen["users"] = users(org, seen["queries"]["ids"][1:])
    seen["contacts"] = contacts(org)
    seen["api_usage"] = list(org.api_usage["api-usage"])
    seen["sessions"] = sessions(settings, org)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
