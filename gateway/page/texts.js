// What the page says, in both languages.
export const TEXTS = {
  ko: {
    title: "공원 전광판", now: "지금 표시 중", aiMark: "AI 작성", try: "문구 시험하기", yesterday: "어제 기온", today: "오늘 기온",
    show: "전광판에도 표시", write: "문구 쓰기", writing: "쓰는 중…", last: "최근 문구 50개", time: "시각", change: "어제 → 오늘",
    text: "문구", tries: "시도", seconds: "초", blank: "표시 중인 문구가 없습니다.", board: "전광판", other: "English",
    ready: "모델 준비됨", down: "모델이 응답하지 않습니다", lost: "게이트웨이와 연결이 끊겼습니다. 다시 연결하는 중…",
    connecting: "연결하는 중…", until: "까지 표시", failed: "문구를 받지 못했습니다",
  },
  en: {
    title: "Park signboard", now: "On the board now", aiMark: "Written by AI", try: "Try a message", yesterday: "Yesterday",
    today: "Today", show: "Show it on the board too", write: "Write a message", writing: "Writing…", last: "The last 50 messages",
    time: "Time", change: "Yesterday → today", text: "Message", tries: "Tries", seconds: "Seconds", blank: "The board is blank.",
    board: "board", other: "한국어", ready: "Model ready", down: "The model does not answer",
    lost: "The gateway is gone. Connecting again…", connecting: "Connecting…", until: "shown until", failed: "No message came",
  },
};
