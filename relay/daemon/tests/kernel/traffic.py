# 200 datagrams of 700 bytes through the client's SOCKS5 port and back, then waits to be ended.
import socket, struct, sys, threading, time

echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("10.78.0.2", 7))

def serve():
    while True:
        payload, source = echo.recvfrom(65536)
        echo.sendto(payload, source)

threading.Thread(target=serve, daemon=True).start()
deadline = time.monotonic() + 15
while True:
    try:
        control = socket.create_connection(("127.0.0.1", 1080))
        break
    except OSError:
        if time.monotonic() > deadline:
            sys.exit("the client does not listen")
        time.sleep(0.05)
control.sendall(b"\x05\x01\x00")
assert control.recv(2) == b"\x05\x00"
control.sendall(b"\x05\x03\x00\x01" + bytes(6))
reply = control.recv(10)
assert reply[1] == 0, reply
relay = (socket.inet_ntoa(reply[4:8]), struct.unpack(">H", reply[8:10])[0])
app = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
app.bind(("127.0.0.1", 0))
app.settimeout(10)
head = b"\x00\x00\x00\x01" + socket.inet_aton("10.78.0.2") + struct.pack(">H", 7)
for number in range(200):
    payload = struct.pack(">I", number) + bytes(696)
    app.sendto(head + payload, relay)
    assert app.recv(65536)[10:] == payload
sys.stdin.read()
