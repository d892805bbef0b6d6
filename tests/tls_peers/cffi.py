# An HTTPS client with curl_cffi, whose library has BoringSSL inside, found in the folder that the first
# argument says; the server is the one of threads.py.
import os, sys

folder, mode = sys.argv[1:3]
if mode == "serve":
    server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "threads.py")
    os.execv(sys.executable, [sys.executable, server, "serve"])
sys.path.insert(0, folder)
from curl_cffi import CurlHttpVersion, requests

session = requests.Session(verify=False, trust_env=False)
for line in sys.stdin:
    _, path, asked = line.split()
    url = "https://127.0.0.1:%s%s" % (sys.argv[3], path)
    answer = session.post(url, data=asked, http_version=CurlHttpVersion.V1_1)
    print(answer.status_code, answer.text, flush=True)
