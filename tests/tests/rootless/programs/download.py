# Gets bytes from each server named, and sends some.
import hashlib
import sys
import urllib.request

for url in sys.argv[1:]:
    data = urllib.request.urlopen(url + "/bytes/500000").read()
    print(len(data), hashlib.sha256(data).hexdigest())
    sent = urllib.request.Request(url + "/digest", data=b"x" * 100000)
    print(urllib.request.urlopen(sent).read().decode())
