"""Counts visits in the database; systemd holds its socket and starts it."""

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg2

SYSTEMD = 3


class Visits(BaseHTTPRequestHandler):
    """Notes who asks, and says how many have asked."""

    def do_GET(self) -> None:
        host = self.headers.get("X-Real-IP", self.address_string())
        database = psycopg2.connect("host=database user=visits dbname=visits")
        with database, database.cursor() as cursor:
            cursor.execute("INSERT INTO visits (host) VALUES (%s)", [host])
            cursor.execute("SELECT count(*) FROM visits")
            (number,) = cursor.fetchone()
        database.close()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"visit {number} from {host}\n".encode())


server = HTTPServer(("127.0.0.1", 0), Visits, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=SYSTEMD)
server.serve_forever()
