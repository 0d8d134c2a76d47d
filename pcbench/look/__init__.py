"""Pictures and exports of clouds."""
