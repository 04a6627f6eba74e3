"""Print which keys boto3 finds by itself and where, as many times as the argument says, one JSON object a line."""

import json
import sys

import boto3

session = boto3.Session()
credentials = session.get_credentials()
for _ in range(int(sys.argv[1])):
    keys = credentials.get_frozen_credentials()
    print(json.dumps({"method": credentials.method, "region": session.region_name, **keys._asdict()}))
