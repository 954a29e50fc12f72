// The page of one recording starts when its document is there.
"use strict";

addEventListener("DOMContentLoaded", () => {
  sedkit.page = new sedkit.TimelinePage(sedkit.data());
  sedkit.page.start();
});
