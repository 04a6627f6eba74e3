"""boto3 with a session's keys, taken from the environment as any tool would: says who it is, writes and reads objects, and prints
what came of each as one JSON object."""

import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint = sys.argv[1]
config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1, "mode": "standard"})
sts = boto3.client("sts", endpoint_url=endpoint, config=config)
s3 = boto3.client("s3", endpoint_url=endpoint, config=config)


def tried(call, **what):
    try:
        return call(**what)
    except ClientError as error:
        return error.response["Error"]["Code"]


def read(bucket, key):
    answer = tried(s3.get_object, Bucket=bucket, Key=key)
    return answer if isinstance(answer, str) else answer["Body"].read().decode()


def written(bucket, key):
    answer = tried(s3.put_object, Bucket=bucket, Key=key, Body=b"by boto3")
    return answer if isinstance(answer, str) else "ok"


def said(call, **what):
    answer = tried(call, **what)
    return answer if isinstance(answer, str) else answer.get("Arn", "ok")


role = "arn:aws:iam::123456789012:role/agents/reports"
json.dump(
    {
        "region": s3.meta.region_name,
        "who": said(sts.get_caller_identity),
        "write": written("releases", "drafts/a"),
        "write elsewhere": written("releases", "v1.4.2/a"),
        "read": read("releases", "v1.4.2/a.tar"),
        "read elsewhere": read("releases", "v2/a.tar"),
        "chain": said(sts.assume_role, RoleArn=role, RoleSessionName="further"),
    },
    sys.stdout,
)
