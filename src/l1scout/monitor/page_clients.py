"""Send the newest frame of each view to its pages: a slow page misses frames, and delays nobody."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from l1scout.monitor.page_frames import View

MAX_CLIENTS = 100


class FrameHub:
    """Makes one frame per view and tick, only of views that somebody looks at.

    Parameters
    ----------
    make : callable
        Makes the frame of a view; called in a thread.
    """

    def __init__(self, make: Callable[[View], bytes]) -> None:
        self._make = make
        self._watched: Counter[View] = Counter()
        self._frames: dict[View, tuple[int, bytes]] = {}
        self._changed = asyncio.Condition()
        self._tick = 0
        self.sent_frames = self.sent_bytes = 0

    @property
    def clients(self) -> int:
        """Pages that are connected."""
        return self._watched.total()

    async def tick(self) -> None:
        """Make the frames of this tick, and wake those who wait."""
        self._tick += 1
        for view in list(self._watched):
            self._frames[view] = self._tick, await asyncio.to_thread(self._make, view)
        async with self._changed:
            self._changed.notify_all()

    async def serve(self, view: View, send: Callable[[bytes], Any]) -> None:
        """Send frames of a view until sending fails or this is cancelled."""
        self._watched[view] += 1
        seen = -1

        def is_new() -> bool:
            return self._frames[view][0] > seen

        try:
            while True:
                if view not in self._frames:
                    self._frames[view] = self._tick, await asyncio.to_thread(self._make, view)
                async with self._changed:
                    await self._changed.wait_for(is_new)
                    seen, frame = self._frames[view]
                await send(frame)
                self.sent_frames += 1
                self.sent_bytes += len(frame)
        finally:
            self._watched[view] -= 1
            if not self._watched[view]:
                del self._watched[view]
                self._frames.pop(view, None)
