# The client as a child of one `steer run`: the hooks are on the cgroup of the command.
CAPS="tcp udp" TOPOS="pair lo"
HOW="steer run -m ebpf: hooks of the socket layer, an address a connection; read+write, then splice"
start() {
  need steer
  need python3
  local inside
  inside="$(dirname "${BASH_SOURCE[0]}")/inside.py"
  cat >"$RUN/steer.yaml" <<C
method: ebpf
log: { connections: none }
C
  mkdir "$RUN/inside"
  STEER_RUN_DIR="$RUN/inside" bg "$PROXY_NS" \
    steer run -c "$RUN/steer.yaml" -- python3 "$inside" serve "$RUN/inside/socket"
  for _ in $(seq 100); do [ -S "$RUN/inside/socket" ] && break; sleep 0.05; done
  [ -S "$RUN/inside/socket" ] || { tail -n 3 "$RUN/log" >&2; return 1; }
  WRAP="python3 $inside $RUN/inside/socket"
}
