"""The vocabulary of the fake provider's world: quantities, terms and wordings, in English and Chinese.

Data only. The names of fields are those of the taxonomy; a field that is not here is worded generically.
"""

# fmt: off
# ruff: noqa: E501   Chinese characters count twice; a table is read best in as few lines as possible.
from __future__ import annotations

import msgspec


class Words(msgspec.Struct, frozen=True):
    """What questions of one field speak of; entries of the two languages correspond."""

    quantities: tuple[tuple[str, str, str, str], ...]
    """(English name, English unit, Chinese name, Chinese unit)."""
    terms: tuple[tuple[str, str, str, str], ...]
    """(English term, English meaning, Chinese term, Chinese meaning)."""


# Per field: English quantities with units, Chinese ones in the same order, then terms as `term=meaning`.
_TABLE: dict[str, tuple[str, str, str, str]] = {
    "Mathematics": (
        "the length of the fence|m; the number of marbles in the jar|marbles; the sum on the blackboard|points; "
        "the area of the garden|square metres; the score in the number game|points",
        "围栏的长度|米；罐子里的弹珠|颗；黑板上的总和|分；花园的面积|平方米；数字游戏的得分|分",
        "prime number=a whole number above one that only one and the number itself divide; "
        "circumference=the length of the line around a circle",
        "质数=只能被一和自身整除且大于一的整数；周长=围绕圆一圈的线的长度"),
    "Physics": (
        "the speed of the cart|m/s; the temperature of the gas|kelvin; the height of the falling ball|m; "
        "the pressure in the cylinder|kilopascals; the energy of the pendulum|joules",
        "小车的速度|米每秒；气体的温度|开；下落小球的高度|米；气缸里的压强|千帕；单摆的能量|焦耳",
        "inertia=the tendency of a body to keep its state of motion; "
        "refraction=the bending of light where it passes into another medium",
        "惯性=物体保持原有运动状态的性质；折射=光进入另一种介质时发生的偏折"),
    "Chemistry": (
        "the mass of the precipitate|grams; the volume of the acid|millilitres; the concentration of the brine|g/l; "
        "the amount of dissolved salt|moles; the pressure in the reaction vessel|bar",
        "沉淀的质量|克；酸液的体积|毫升；盐水的浓度|克每升；溶解盐的物质的量|摩尔；反应釜的压力|巴",
        "catalyst=a substance that speeds up a reaction without being used up; "
        "isotope=an atom of the same element with another number of neutrons",
        "催化剂=加快反应而自身不被消耗的物质；同位素=质子数相同而中子数不同的原子"),
    "Biology": (
        "the number of bacteria in the dish|thousand; the height of the seedling|mm; the fish in the pond|animals; "
        "the activity of the enzyme|units; the population of field mice|animals",
        "培养皿中的细菌数|千；幼苗的高度|毫米；池塘里的鱼|条；酶的活性|单位；田鼠的种群数量|只",
        "osmosis=the movement of water through a membrane towards the stronger solution; "
        "mitosis=the division of a nucleus into two identical ones",
        "渗透=水穿过膜流向较浓溶液的现象；有丝分裂=细胞核分成两个相同细胞核的过程"),
    "Geography": (
        "the level of the river gauge|cm; the length of the glacier|m; the area of the lake|square kilometres; "
        "the population of the valley|people; the height of the dune|m",
        "河流水位的读数|厘米；冰川的长度|米；湖泊的面积|平方千米；山谷的人口|人；沙丘的高度|米",
        "delta=the land that a river builds up at its mouth; isthmus=a narrow strip of land between two seas",
        "三角洲=河流在入海口堆积成的陆地；地峡=两片海域之间狭窄的陆地"),
    "Computer Science and Technology": (
        "the number of packets in the queue|packets; the size of the log file|megabytes; "
        "the number of nodes in the tree|nodes; the counter of cache hits|hits; the load of the web server|requests",
        "队列中的数据包|个；日志文件的大小|兆字节；树的节点数|个；缓存命中计数|次；网页服务器的负载|请求",
        "recursion=the technique in which a function calls itself; "
        "deadlock=the state in which processes wait for each other for ever",
        "递归=函数调用自身的方法；死锁=多个进程永远互相等待的状态"),
    "Electrical Engineering": (
        "the voltage at the terminals|volts; the current in the coil|milliamperes; the power of the heater|watts; "
        "the charge of the battery|ampere-hours; the resistance of the network|ohms",
        "端子间的电压|伏；线圈中的电流|毫安；加热器的功率|瓦；电池的电量|安时；网络的电阻|欧姆",
        "capacitor=a component that stores charge between two plates; "
        "rectifier=a circuit that turns alternating into direct current",
        "电容器=在两块极板之间储存电荷的元件；整流器=把交流电变为直流电的电路"),
    "Mechanical Engineering": (
        "the torque on the shaft|newton metres; the speed of the gear|rpm; the load on the crane|kilonewtons; "
        "the thickness of the plate|mm; the wear of the bearing|micrometres",
        "轴上的扭矩|牛米；齿轮的转速|转每分；起重机的载荷|千牛；钢板的厚度|毫米；轴承的磨损|微米",
        "flywheel=a heavy wheel that evens out the motion of a machine; "
        "fatigue=the failure of a part under loads that change again and again",
        "飞轮=使机器运转平稳的重轮；疲劳=零件在反复变化的载荷下失效的现象"),
    "Clinical Medicine": (
        "the heart rate of the patient|beats per minute; the dose of the drug|mg; the stay on the ward|hours; "
        "the glucose level of the patient|mg/dl; the fluid intake of the patient|ml",
        "病人的心率|次每分；药物的剂量|毫克；住院的时间|小时；病人的血糖|毫克每分升；病人的饮水量|毫升",
        "triage=the sorting of patients by the urgency of their need; "
        "anaemia=a lack of red blood cells or of their pigment",
        "分诊=按病情紧急程度给病人排序；贫血=红细胞或其色素不足的状态"),
    "Public Health and Preventive Medicine": (
        "the number of vaccinated children|children; the number of reported infections|cases; the tests per week|tests; "
        "the number of screened adults|adults; the count of water samples|samples",
        "接种疫苗的儿童|名；报告的感染病例|例；每周的检测数|次；接受筛查的成人|名；水样的数目|份",
        "quarantine=the separation of people who may carry an infection; "
        "incidence=the number of new cases of a disease in a period",
        "隔离检疫=把可能带有传染病的人分开；发病数=一段时间内某种疾病的新病例数"),
    "Applied Economics": (
        "the price of the share|euros; the stock of the warehouse|crates; the monthly export|tonnes; "
        "the budget of the household|euros; the price of the wheat|dollars",
        "股票的价格|欧元；仓库的存货|箱；每月的出口量|吨；家庭的预算|欧元；小麦的价格|美元",
        "inflation=a lasting rise of the general level of prices; monopoly=a market with one single seller",
        "通货膨胀=物价总水平的持续上涨；垄断=只有一个卖方的市场"),
    "Business Administration": (
        "the number of employees of the firm|people; the sales of the shop|units; the orders on the books|orders; "
        "the complaints of the customers|letters; the hours billed to the client|hours",
        "公司的员工|人；商店的销量|件；账上的订单|份；顾客的投诉|封；向客户收费的工时|小时",
        "outsourcing=handing a firm's own tasks to another firm; "
        "franchise=the right to run a business under another firm's brand",
        "外包=把企业自己的任务交给另一家企业；特许经营=用另一企业的品牌经营的权利"),
    "History": (
        "the number of soldiers in the legion|soldiers; the silver in the treasury|talents; the ships of the fleet|ships; "
        "the grain of the tribute|bushels; the population of the old town|people",
        "军团的士兵|名；国库的白银|两；舰队的船只|艘；进贡的粮食|石；古城的人口|人",
        "armistice=an agreement to stop fighting for a time; "
        "feudalism=an order in which land is held in return for service",
        "停战协定=暂时停止战斗的协议；封建制=以服役换取土地的社会秩序"),
    "Law": (
        "the number of pending lawsuits|cases; the fine of the company|euros; the signed contracts|contracts; "
        "the number of heard witnesses|witnesses; the damages of the plaintiff|euros",
        "待审的案件|件；公司的罚款|欧元；签署的合同|份；出庭的证人|名；原告的赔偿额|欧元",
        "perjury=a lie told under oath in court; precedent=an earlier judgment that later courts follow",
        "伪证=在法庭宣誓后所说的谎言；判例=后来的法院遵循的先前判决"),
    "Psychology": (
        "the reaction time of the subject|ms; the score on the anxiety scale|points; the recalled words|words; "
        "the number of trials in the experiment|trials; the length of the therapy|weeks",
        "被试的反应时间|毫秒；焦虑量表的得分|分；回忆出的单词|个；实验的试次|次；治疗的时长|周",
        "placebo effect=an improvement that comes from belief in a treatment without active substance; "
        "introversion=the tendency to turn towards one's own inner life",
        "安慰剂效应=因相信无效成分的治疗而产生的好转；内向=倾向于关注自己内心世界的性格"),
    "Education": (
        "the number of pupils in the class|pupils; the score in the spelling test|points; the homework time|minutes; "
        "the books in the school library|books; the lessons of the course|lessons",
        "班里的学生|名；拼写测验的成绩|分；作业的时间|分钟；学校图书馆的藏书|本；课程的课时|节",
        "curriculum=the plan of what is taught in a course; literacy=the ability to read and write",
        "课程大纲=一门课教授内容的计划；识字=读和写的能力"),
    "Philosophy": (
        "the number of premises of the argument|premises; the pages of the treatise|pages; the objections|objections; "
        "the speakers of the dialogue|speakers; the letters of the thinker|letters",
        "论证的前提|条；论文的页数|页；反对意见|条；对话的发言者|位；思想家的书信|封",
        "empiricism=the view that knowledge comes from experience; "
        "solipsism=the view that only one's own mind is sure to exist",
        "经验主义=认为知识来自经验的观点；唯我论=认为只有自己的心灵确实存在的观点"),
    "Sociology": (
        "the number of surveyed households|households; the members of the trade union|members; the newcomers|people; "
        "the volunteers of the neighbourhood|people; the average household income|euros",
        "受访的家庭|户；工会的成员|名；新来的移民|人；社区的志愿者|人；户均收入|欧元",
        "urbanisation=the growth of the share of people who live in cities; "
        "stratification=the ranking of groups of a society by wealth and power",
        "城市化=居住在城市的人口比例的上升；社会分层=社会群体按财富和权力排列的现象"),
    "Crop Science": (
        "the yield of the field|tonnes; the rain on the plot|mm; the seedlings per row|plants; "
        "the fertiliser on the plot|kg; the weight of the harvest|kg",
        "田地的产量|吨；地块的降雨|毫米；每行的秧苗|株；地块的肥料|千克；收成的重量|千克",
        "crop rotation=the change of plants on a field from year to year; "
        "irrigation=the supply of water to fields by people",
        "轮作=同一块田逐年更换作物；灌溉=人为给田地供水"),
}

GENERIC = (("the index used in “{}” research", "points", "“{}”研究所用的指标", "点"),
           ("the count kept in the “{}” project", "entries", "“{}”项目的计数", "项"),
           ("the scale value of the “{}” study", "units", "“{}”调查的刻度值", "单位"))
"""Quantities of a field without words of its own; `{}` stands for its name, which is looked for when read back."""

OPENINGS = {
    "en": ("At the start of {occasion}, {q} is {n} {u}.", "{person} notes that {q} is {n} {u}.",
           "Suppose that {q} begins at {n} {u}.", "{person} begins {occasion}, where {q} first stands at {n} {u}.",
           "Initially {q} amounts to {n} {u}.", "A report on {occasion} says that {q} was {n} {u}.",
           "Before {occasion}, {person} finds that {q} equals {n} {u}."),
    "zh": ("{occasion}开始时，{q}为{n}{u}。", "{person}记录到{q}是{n}{u}。", "设{q}起初为{n}{u}。",
           "在{occasion}中，{person}看到{q}最初是{n}{u}。", "关于{occasion}的报告说，{q}原为{n}{u}。"),
}
UNSTATED = {"en": "{person} begins {occasion} without writing down how large {q} is.",
            "zh": "{occasion}开始时，{person}没有记下{q}有多大。"}
STEPS = {
    "en": {"+": ("it rises by {}", "it gains {}", "it goes up by {}", "it increases by {}", "{} is added to it"),
           "-": ("it falls by {}", "it loses {}", "it goes down by {}", "it decreases by {}", "{} is taken from it"),
           "*": ("it is multiplied by {}", "it grows to {} times its size", "it becomes {} times as large"),
           "/": ("it is divided by {}", "it shrinks to one part in {}", "it is cut into {} equal parts, one of them kept")},
    "zh": {"+": ("上升了{}", "增加了{}", "又加上{}", "多出{}"), "-": ("下降了{}", "减少了{}", "扣除{}", "失去{}"),
           "*": ("变为原来的{}倍", "乘以{}", "扩大到{}倍"), "/": ("除以{}", "缩小为{}分之一", "平分成{}份后取其中一份")},
}
LINKS = {
    "en": ("Then ", "Next, ", "Later, ", "After {cause}, ", "Because of {cause}, ", "During {cause}, ", "Following {cause}, ",
           "As {person} reports, ", "Soon "),
    "zh": ("接着，它", "随后，它", "后来，它", "由于{cause}，它", "在{cause}之后，它", "据{person}说，它", "不久，它"),
}
ASKS = {
    "en": {"calculation": ("What is {q} in the end?", "Find the final value of {q}.", "How large is {q} after all this?"),
           "open": ("Explain how {q} develops and state where it ends.", "Describe the course of {q} and give its end."),
           "short_answer": ("In one number, where does {q} end?", "Give {q} at the end in a single number."),
           "multiple_choice": ("Which of the options is {q} at the end?", "Which option gives the last value of {q}?"),
           "true_false": ("True or false: in the end, {q} is {claim}.",),
           "proof": ("Prove step by step which value {q} must have at the end.",),
           "case_analysis": ("Analyse this case: which value does {q} reach?",),
           "code_reading": ("If a program keeps {q} in a variable and applies these steps, what does it print?",)},
    "zh": {"calculation": ("最后{q}是多少？", "求{q}的最终数值。", "经过这些变化后，{q}是多少？"),
           "open": ("说明{q}的变化过程，并给出结果。",), "short_answer": ("用一个数回答：{q}最终是多少？",),
           "multiple_choice": ("下列哪个选项是{q}的最终数值？",), "true_false": ("判断对错：最后{q}是{claim}。",),
           "proof": ("请逐步证明{q}最终必为何值。",), "case_analysis": ("分析这个案例：{q}达到多少？",),
           "code_reading": ("若程序用一个变量保存{q}并依次执行这些步骤，输出是什么？",)},
}
TERM_ASKS = {"en": ("Which term of {field} stands for {meaning}?", "What do people in {field} call {meaning}?"),
             "zh": ("{field}中，“{meaning}”用哪个术语表示？", "在{field}里，“{meaning}”叫什么？")}
GRADES = {
    "primary": ("In a primary school lesson: ", "小学课堂上："), "middle": ("In a middle school class: ", "初中课堂上："),
    "high": ("In a high school course: ", "高中课堂上："), "undergraduate": ("In an undergraduate course: ", "本科课程中："),
    "graduate": ("In a graduate seminar: ", "研究生讨论课上："), "professional": ("In professional training: ", "职业培训中：")}
OCCASIONS = {
    "en": ("the morning survey", "the winter campaign", "the open day", "the long experiment", "the public hearing",
           "the spring audit", "the night shift", "the summer workshop", "the harbour festival", "the pilot project"),
    "zh": ("早晨的调查", "冬季的活动", "开放日", "长期实验", "公开听证", "春季审计", "夜班", "夏季研讨", "港口节", "试点项目")}
CAUSES = {
    "en": ("a heavy storm", "the holiday break", "a careful correction", "the second inspection", "an unexpected visit",
           "a change of method", "the repair of the device", "a new agreement", "the evening session", "a sudden frost",
           "the advice of an expert", "a mix-up in the office", "the arrival of new material", "a short strike"),
    "zh": ("暴风雨", "假期", "仔细校正", "第二次检查", "意外来访", "方法改变", "设备维修", "新的协议", "晚间会议", "突然降温",
           "专家建议", "新材料到货")}
PERSONS = {
    "en": ("Amira", "Bela", "Chen", "Dorothea", "Emeka", "Farid", "Greta", "Hiroshi", "Ines", "Jamal", "Katya", "Lars",
           "Mei", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samuel", "Tara"),
    "zh": ("小明", "李华", "王芳", "张伟", "陈静", "刘洋", "赵敏", "周强", "吴丽", "孙浩")}
PASSAGE = {
    "en": ("{person} studies {q} with great care, because many people in {field} depend on it.",
           "During {occasion}, {q} changed more than once, and {cause} was one of the reasons.",
           "In {field}, {term} is the name for {meaning}.", "Whoever measures {q} should also write down the hour and the place.",
           "Records of {q} go back to the time before {occasion}, when {person} kept the first list."),
    "zh": ("{person}仔细研究{q}，因为{field}领域的许多人都依赖它。", "在{occasion}期间，{q}变化不止一次，{cause}是原因之一。",
           "在{field}中，{term}指的是{meaning}。", "测量{q}的人也应当记下时间和地点。", "{q}的记录可以追溯到{occasion}之前，那时{person}列出了第一份清单。")}


FRAMES = {
    "en": ("While {a} and {b} wait for the evening train, they quarrel about this and ask you to settle it: {q}",
           "{a} found an old notebook with this problem in it and cannot sleep before it is done: {q}",
           "{q} That is what {a} wants to know from {b}, who has taught the subject for twenty happy years.",
           "For the quiz in the village hall, {a} and {b} have chosen one more thing to ask: {q}"),
    "zh": ("{a}和{b}在等晚班火车的时候争论起来，请你来评判：{q}", "{a}在旧笔记本里发现了这道题，不做完就睡不着：{q}",
           "{q}这是{a}想问{b}老师的事情，老师教这门课已经许多年了。"),
}
"""How a question that is known only by its answer key is put in other words; taken off again when read."""
REFERENCES = {"en": "According to the passage, ", "zh": "根据上文，"}
"""What makes a question lean on a text that its reader does not have."""


def _pairs(text: str, outer: str, inner: str) -> list[tuple[str, str]]:
    return [tuple(part.strip().split(inner, 1)) for part in text.split(outer)]  # type: ignore[misc]


def words() -> dict[str, Words]:
    """Field name -> its vocabulary."""
    table = {}
    for field, (en, zh, en_terms, zh_terms) in _TABLE.items():
        quantities = zip(_pairs(en, ";", "|"), _pairs(zh, "；", "|"), strict=True)
        terms = zip(_pairs(en_terms, ";", "="), _pairs(zh_terms, "；", "="), strict=True)
        table[field] = Words(tuple(a + b for a, b in quantities), tuple(a + b for a, b in terms))
    return table
