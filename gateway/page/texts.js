// The page's texts, in both languages.
export const TEXTS = {
  ko: {
    title: "공원 전광판", now: "표출 중", aiMark: "AI 작성", try: "문구 시험", yesterday: "어제 기온", today: "오늘 기온", park: "공원",
    show: "전광판에도 표출", write: "문구 생성", writing: "생성 중…", last: "최근 문구 50개", time: "시각", change: "어제 → 오늘",
    text: "문구", tries: "시도 횟수", seconds: "소요(초)", blank: "표출 중인 문구가 없습니다.", board: "전광판", other: "English",
    ready: "모델 준비됨", down: "모델이 응답하지 않습니다", lost: "게이트웨이와 연결이 끊겼습니다. 다시 연결하는 중…",
    connecting: "연결하는 중…", until: "까지 표출", failed: "문구를 받지 못했습니다",
    sensors: "센서", last24: "최근 24시간", before24: "그 전날", good: "정상", doubtful: "의심", bad: "오류", none: "자료 없음",
    missing: "수신 없음", noObservation: "수신한 자료가 없습니다", chart: "48시간 기온", second: "초 전", minute: "분 전", hour: "시간 전",
    no_current: "현재 자료 없음", no_yesterday: "어제 자료 없음", sensor_bad: "센서 이상", too_early: "15시 이후 비교",
    unusual: "표출 범위를 벗어난 기온", keptBlank: "관리자가 껐습니다",
    signs: "전광판 장치", sign_standby: "다른 게이트웨이가 제어", sign_starting: "아직 전송하지 않음", sign_sending: "전송 중", sign_shown: "표출 확인", sign_blank: "꺼짐 확인",
    sign_refused: "이 문구를 표출할 수 없음", sign_failed: "응답 없음 또는 오류",
  },
  en: {
    title: "Park signboard", now: "On the board now", aiMark: "Written by AI", try: "Try a message", yesterday: "Yesterday",
    today: "Today", park: "Park", show: "Show it on the board too", write: "Write a message", writing: "Writing…", last: "The last 50 messages",
    time: "Time", change: "Yesterday → today", text: "Message", tries: "Tries", seconds: "Seconds", blank: "The board is blank.",
    board: "board", other: "한국어", ready: "Model ready", down: "The model does not answer",
    lost: "The gateway is gone. Connecting again…", connecting: "Connecting…", until: "shown until", failed: "No message came",
    sensors: "Sensors", last24: "Last 24 hours", before24: "The day before", good: "good", doubtful: "doubtful", bad: "bad", none: "no data",
    missing: "silent", noObservation: "Nothing was received", chart: "48 hours of temperature", second: " s ago", minute: " min ago",
    hour: " h ago", no_current: "No current data", no_yesterday: "No data of yesterday", sensor_bad: "The sensor is faulty",
    keptBlank: "An administrator keeps it blank", too_early: "Compared after 15:00", unusual: "The temperature is outside the range of messages",
    signs: "Signs", sign_standby: "driven by another gateway", sign_starting: "nothing sent yet", sign_sending: "sending", sign_shown: "confirmed", sign_blank: "confirmed blank",
    sign_refused: "cannot show this message", sign_failed: "does not confirm",
  },
};
