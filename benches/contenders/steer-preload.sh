METHOD=preload CAPS_OF=tcp RELAYED=no CONFIG="relay: needed"
. "$(dirname "${BASH_SOURCE[0]}")/steer-netns.sh"
HOW="steer run -m preload, relay: needed: the shim asks, the program connects"
