#!/bin/sh
# A guest's server: who connects and sends a line is told the address that it comes from. "server PORT" has nc listen on all
# addresses in the background; nc starts it anew for each connection, with the port in the environment.
if [ -n "$1" ]; then
  export PORT="$1"
  nc -ll -p "$PORT" -e "$0" >/dev/null 2>&1 &
  until netstat -ltn | grep -q ":$PORT "; do usleep 100000; done
  exit
fi
read -r question 
ss -Htn state established state close-wait "sport = :$PORT" |
  sed -n 's/^.* \[*\(::ffff:\)*\([0-9a-f.:]*\)\]*:[0-9]* *$/\2/p' | tail -n 1
