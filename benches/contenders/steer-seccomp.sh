METHOD=seccomp CAPS_OF=tcp RELAYED=no CONFIG="relay: needed"
. "$(dirname "${BASH_SOURCE[0]}")/steer-netns.sh"
HOW="steer run -m seccomp, relay: needed: the supervisor dials, the program has the socket"
